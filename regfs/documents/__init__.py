"""Files that people write: how they are loaded, and the patterns of names in them."""
