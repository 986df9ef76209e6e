"""Images, and tags attached to them by name as cosign makes them."""

from __future__ import annotations

from tests.support.builder import TreeBuilder, image
from tests.support.images import Content

OLD, NEW, GONE = image(["base", "old"]), image(["base", "new"]), image(["base", "gone"])
ENDINGS = ("sig", "att", "sbom")


def own(digest: str) -> str:
    """Return the tag of a digest: cut to 64 digits, as the specification has it."""
    algorithm, _, encoded = digest.partition(":")
    return f"{algorithm}-{encoded[:64]}"


def signed(tree: TreeBuilder, name: str, digest: str, ending: str = "sig") -> str:
    """Push what cosign does beside an image: without a subject, in the shape of an image."""
    return tree.push(name, f"{own(digest)}.{ending}", image([f"{ending} of {digest}"]))


def beside_of(content: Content, *endings: str) -> set[str]:
    return {f"app:{own(content.digest)}.{ending}" for ending in endings or ENDINGS}
