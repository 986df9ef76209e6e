"""Requests to one bucket: how they are made, signed and repeated, and what failures mean."""
