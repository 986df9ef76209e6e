"""What arrives at a registry that takes pushes: blobs, manifests, tags, and their links."""
