"""What is in bytes, wherever they lie: layers unpacked, blobs hashed in batches."""
