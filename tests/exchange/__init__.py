"""Exports and imports: copies of a registry, and registries from copies."""
