"""The content of blobs: layers unpacked, blobs hashed in batches."""
