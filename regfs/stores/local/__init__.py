"""A registry in a folder of this machine."""
