"""Copying a registry, or a few images of it, out of one place and into another.

export    tree -> folder, bucket or tar, as a tree in the v2 layout or as an OCI image layout
import    any root -> a tree that lives, under its lock, journaled and with an undo

selection    which links and blobs go along: all that is reached, or what references reach
copying      blobs, each hashed as it passes
media        folders, buckets and tars as places to write to
formats      where blobs and links go in the v2 layout, and in an OCI layout
former       what a former export has, so that the next one leaves it out
export       the order of things, and what is there already
importing    likewise, into a tree that others use
"""
