"""Which images begin alike: a forest, each member built on the one it hangs from.

    app:v1      [A B C]        |- (2 layers that 2 images begin with)   [A B]
    web:v1      [A B D]        |  |- app:v1                             + C
    tool:v1     [E]            |  `- web:v1                             + D
                               `- tool:v1

Images with the same layers are one member. Where several begin alike and no image here has just
these layers, as when their base was never pushed here, that beginning is a member without a
name. A squashed image hangs from the base that its annotations name.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from regfs.digest import Digest
from regfs.graph import Graph
from regfs.names import natural, plainest
from regfs.reports.contents import Read
from regfs.reports.images import Image, images, layer_sizes
from regfs.reports.lineage import Bases, bases
from regfs.tree.registry import Target


@dataclass(slots=True)
class FamilyMember:
    """Images with the same layers, or what some images begin with."""

    names: tuple[str, ...]
    """The plainest first; empty for a beginning that is no image."""
    base: int
    """Which member it is built on; -1 for none."""
    layers: int
    size: int
    """Bytes of its layers that are here, each once."""
    own_layers: int
    own_bytes: int
    """What it has beyond its base."""
    base_name: str = ""
    """The base by annotations, here or elsewhere."""
    squashed: bool = False


def family(graph: Graph, read: Read, targets: Iterable[Target] = ()) -> list[FamilyMember]:
    """Return all members, a base before what is on it; or those that `bases` returns."""
    report = bases(graph, read, targets)
    named = {one.image for one in report.images}
    every = [image for image in images(graph, read) if image.name in named]
    maker = _FamilyMaker(every, {d: s or 0 for d, s in layer_sizes(graph, every).items()})
    maker.arrange()
    maker.annotate(report)
    return _ordered(maker.members)


class _FamilyMaker:
    def __init__(self, every: Sequence[Image], sizes: dict[Digest, int]) -> None:
        self.members: list[FamilyMember] = []
        self._sizes = sizes
        self._numbers = {digest: number for number, digest in enumerate(sizes)}
        self._names: dict[tuple[Digest, ...], list[str]] = {}
        for image in every:
            self._names.setdefault(image.layers, []).append(image.name)
        self._by_name: dict[str, int] = {}

    def arrange(self) -> None:
        """Make the members: of lists of layers in order, each shares most with its neighbours."""
        numbers = self._numbers.__getitem__
        stack: list[tuple[int, int]] = []  # how many layers, member
        before: tuple[Digest, ...] = ()
        for layers in sorted(self._names, key=lambda one: list(map(numbers, one))):
            common = _common(before, layers)
            last = -1
            while stack and stack[-1][0] > common:
                last = stack.pop()[1]
            if last >= 0 and common and (not stack or stack[-1][0] < common):
                base = stack[-1][1] if stack else -1
                branch = self._add((), before[:common], base)
                self._rebase(last, branch, common)
                stack.append((common, branch))
            names = tuple(sorted(self._names[layers], key=plainest))
            stack.append((len(layers), self._add(names, layers, stack[-1][1] if stack else -1)))
            before = layers

    def _add(self, names: tuple[str, ...], layers: Sequence[Digest], base: int) -> int:
        below = self.members[base].layers if base >= 0 else 0
        known, own = set(layers[:below]), set(layers[below:])
        size = sum(map(self._sizes.__getitem__, known | own))
        own_bytes = sum(map(self._sizes.__getitem__, own - known))
        self.members.append(
            FamilyMember(names, base, len(layers), size, len(layers) - below, own_bytes)
        )
        number = len(self.members) - 1
        self._by_name.update(dict.fromkeys(names, number))
        return number

    def _rebase(self, number: int, base: int, common: int) -> None:
        member, below = self.members[number], self.members[base]
        member.base = base
        member.own_layers = member.layers - common
        member.own_bytes = member.size - below.size

    def annotate(self, found: Bases) -> None:
        """Take from annotations what layers do not show."""
        for one in found.images:
            number = self._by_name.get(one.image)
            if number is None:
                continue
            member = self.members[number]
            member.base_name = member.base_name or one.base_name or ""
            base = self._by_name.get(one.bases[0], -1) if one.bases else -1
            if one.squashed and member.base < 0 <= base and not self._is_below(base, number):
                member.base, member.squashed = base, True

    def _is_below(self, number: int, other: int) -> bool:
        while number >= 0:
            if number == other:
                return True
            number = self.members[number].base
        return False


def _common(one: Sequence[Digest], other: Sequence[Digest]) -> int:
    """Return with how many layers both begin."""
    count = 0
    for a, b in zip(one, other, strict=False):
        if a != b:
            break
        count += 1
    return count


def _ordered(members: list[FamilyMember]) -> list[FamilyMember]:
    """Return the members depth first: by how much is built on them, then by name."""
    after: dict[int, list[int]] = {}
    for number, member in enumerate(members):
        after.setdefault(member.base, []).append(number)
    counts = dict.fromkeys(range(len(members)), 1)
    order: list[int] = []
    pending = list(after.get(-1, []))
    while pending:
        number = pending.pop()
        order.append(number)
        pending += after.get(number, [])
    for number in reversed(order):
        if (base := members[number].base) >= 0:
            counts[base] += counts[number]

    def key(number: int) -> tuple[int, object]:
        names = members[number].names
        return -counts[number], natural(names[0] if names else "")

    places: dict[int, int] = {-1: -1}
    found: list[FamilyMember] = []
    pending = sorted(after.get(-1, []), key=key, reverse=True)
    while pending:
        number = pending.pop()
        places[number] = len(found)
        found.append(members[number])
        pending += sorted(after.get(number, []), key=key, reverse=True)
    for member in found:
        member.base = places[member.base]
    return found
