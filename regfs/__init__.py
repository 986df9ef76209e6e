"""regfs: look into, check and clean the disk of a Docker/OCI registry."""

__version__ = "0.1.0"
