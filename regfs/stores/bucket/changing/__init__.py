"""Changing a bucket under a lease: what is set aside, brought back, and dropped for good."""
