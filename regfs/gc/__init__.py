"""Giving space back without ever losing an image: policy -> plan -> sweep."""
