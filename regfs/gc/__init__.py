"""Frees space without ever losing an image: policy -> plan -> sweep."""
