"""The tree as typed content: scanned whole, or read one thing at a time."""
