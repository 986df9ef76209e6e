"""regfs as people get it: the image, the single file, a new environment."""
