"""Files that people write: loading them, and patterns of names."""
