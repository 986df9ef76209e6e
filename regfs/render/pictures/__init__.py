"""A registry as a picture or as data for other programs, as bytes, a piece at a time.

    dot, mermaid      drawn: for people, of a small registry or a part of one
    graphml, gexf     for Gephi, yEd, Cytoscape and networkx
    json              node-link data
    sqlite            a database of tables, views and keys
    html              one page with a treemap and the images as a tree

What is drawn or written comes from `regfs.reports.network` and `regfs.reports.treemap`.
"""

from regfs.errors import printable


def unambiguous(text: str) -> str:
    """Return a name without control characters and undecodable bytes, as no other name is shown."""
    return text if text.isprintable() else printable(text.replace("\\", "\\\\"))
