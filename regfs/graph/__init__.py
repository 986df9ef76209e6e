"""What points to what, and what is reached from where.

    repository --tag--> tag --current--> manifest --child--> manifest
        `------revision-> revision --content--^  `--subject--> manifest

Everything that points is a node of one networkx DiGraph; the blobs that are
only pointed at (layers, configs) are numbers in one integer array beside it,
a slice for each manifest: as nodes they would take twelve times the memory.

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
