"""A registry in a tar: a file, plain or compressed, or a stream that passes once."""
