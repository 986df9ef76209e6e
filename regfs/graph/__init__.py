"""What points to what, and what is reached from where.

    repository --tag--> tag --current--> manifest --child--> manifest
        `------revision-> revision --content--^  `--subject--> manifest

What manifests point to is a dict of those that point to any (indexes, referrers);
the blobs they name (layers, configs) are numbers in one integer array beside it,
a slice for each manifest: as nodes they would take twelve times the memory.
`Graph.digraph` is the whole as a networkx DiGraph, made when it is asked for.

`Graph.build` never raises on a bad tree. What cannot be read is a finding, and
where it could name anything that is not seen, it *freezes*: `frozen` tells
which repositories must not lose a thing, `blind` that unseen links may exist
anywhere. Whether anything is deleted is not decided here.
"""

from regfs.graph.model import (
    EdgeKind,
    Graph,
    Leaf,
    ManifestInfo,
    Node,
    NodeKind,
    Step,
)

__all__ = ["EdgeKind", "Graph", "Leaf", "ManifestInfo", "Node", "NodeKind", "Step"]
