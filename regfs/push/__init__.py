"""What pushes write: blobs, manifests, tags and their links."""
