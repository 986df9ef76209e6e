"""A registry in anything but a folder: what it lists comes as one stream, in any order."""
