"""What points to what, and what is reached from where.

    repository --tag--> tag --current--> manifest --child--> manifest
        `------revision-> revision --content--^  `--subject--> manifest

What manifests point to is a dict of those that point to any (indexes, referrers);
what else is known of them, and the blobs they name (layers, configs), are columns of numbers.
`digraph` returns the whole as a networkx DiGraph.

`build_graph` never raises on a bad tree. What cannot be read is a finding, and
where it could name anything that is not seen, it *freezes*: `Graph.frozen` names the
repositories that must not lose anything, `Graph.incomplete` says where unseen links may
lie. Whether anything is deleted is not decided here.
"""

from regfs.graph.build import build_graph
from regfs.graph.manifests import Leaf, ManifestInfo
from regfs.graph.model import EdgeKind, Graph, Node, NodeKind

__all__ = ["EdgeKind", "Graph", "Leaf", "ManifestInfo", "Node", "NodeKind", "build_graph"]
