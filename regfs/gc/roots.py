"""A list of what is in use outside the tree, one reference on each line (`--roots FILE|-`).

    # kubectl get pods -A -o jsonpath='{range .items[*].status.containerStatuses[*]}{.imageID}...
    sha256:4f53...                                  wherever it is in the tree
    team/app:v1
    team/app@sha256:4f53...
    registry.example.com:5000/team/app:v1@sha256:4f53...    the digest counts, tags move

A list of everything that runs in a cluster names other registries too. Their lines are skipped
if the host names of this registry are given.

A root that is overlooked is an image that is lost. Hence no line is skipped that is not
understood, an empty list is refused (a dump that failed must not read as "nothing is in use"),
and what is found in another place than the list says is kept there.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Final, NamedTuple

from regfs import layout
from regfs.digest import Digest
from regfs.errors import DigestInvalid, DocumentInvalid
from regfs.findings import Code, Finding
from regfs.names import name_problem, tag_problem
from regfs.tree.inventory import Inventory


class Root(NamedTuple):
    """One reference to something in use."""

    name: str | None
    """The repository; None for a digest in any repository."""
    reference: str
    """A `Digest`, or a tag."""


@dataclass(frozen=True, slots=True)
class Roots:
    """A list of roots."""

    said: dict[Root, str]
    """Root -> its text and line in the file, for findings."""
    perhaps: frozenset[Root] = frozenset()
    """Other readings, with the first component as a host. They may be missing."""
    elsewhere: int = 0
    """Lines that were skipped because they name other registries."""

    @classmethod
    def of(cls, texts: Iterable[str]) -> Roots:
        """Return the roots from their texts in a plan."""
        roots = [(_parted(text.removesuffix("?")), text) for text in texts]
        said = {root: text for root, text in roots if not text.endswith("?")}
        return cls(said, frozenset(root for root, text in roots if text.endswith("?")))

    @property
    def texts(self) -> tuple[str, ...]:
        """The roots as a plan holds them; a question mark marks those in `perhaps`.

        Neither tag nor digest can end with one; a folder that is no legal name can begin so.
        """
        said = [_joined(root) for root in self.said]
        return tuple(sorted([*said, *(f"{_joined(root)}?" for root in self.perhaps)]))

    @property
    def digests(self) -> frozenset[Digest]:
        """Digests that are in use in any repository."""
        return frozenset(Digest(root.reference) for root in self.said if root.name is None)


def _joined(root: Root) -> str:
    """Return a root as text: `NAME:TAG`, `NAME@DIGEST`, or `@DIGEST` of a digest alone."""
    mark = "@" if isinstance(root.reference, Digest) else ":"
    return f"{root.name or ''}{mark}{root.reference}"


def _parted(text: str) -> Root:
    name, at, digest = text.rpartition("@")
    if at:
        return Root(name or None, Digest.parse(digest))
    name, _, tag = text.rpartition(":")
    return Root(name, tag)


@dataclass(frozen=True, slots=True)
class Resolved:
    """What roots refer to in one tree."""

    manifests: dict[str, set[Digest]] = field(default_factory=dict)
    """Repository -> manifests in use there."""
    blobs: set[Digest] = field(default_factory=set)
    """In use, and no manifest of any repository: a config, a layer, or a manifest without a
    link. Each is to be kept together with every manifest that names it: some runtimes know an
    image by its config. Also what is not there, for manifests may name it all the same."""
    vouched: set[str] = field(default_factory=set)
    """Repositories of which something is in use, by name or by a digest alone."""
    findings: list[Finding] = field(default_factory=list)
    """One for each root that is not in the tree."""


def parse_roots(
    data: bytes, name: str, exists: Callable[[str], bool], hosts: Sequence[str] = ()
) -> Roots:
    """Read a list of roots; `name` is that of the file, `exists` knows the repositories.

    `exists` takes any text. A first component with a dot or a colon, or `localhost`, is the
    host of a registry unless the tree has a repository of that whole name. With `hosts`, each
    `HOST[:PORT][/PREFIX]`, lines of other hosts are skipped; lines without a host never are.

    Raises:
        DocumentInvalid: a line is not a reference, or there is no line.
    """
    said: dict[Root, str] = {}
    perhaps: set[Root] = set()
    elsewhere = 0
    for number, line in _lines(data, name):
        try:
            readings = _readings(line, exists, hosts)
        except ValueError as error:
            shown = line if len(line) <= 160 else f"{line[:160]}..."
            raise DocumentInvalid(f"{name}:{number}: {shown!r}: {error}") from None
        if not readings:
            elsewhere += 1
            continue
        first, *others = readings
        said.setdefault(first, f"{line} ({name}:{number})")
        perhaps.update(others)
    if elsewhere and not said:
        raise DocumentInvalid(
            f"{name}: none of its {elsewhere} lines names an image of {' or '.join(hosts)}; an "
            "empty list is refused"
        )
    if not said:
        raise DocumentInvalid(f"{name}: contains no reference; an empty list is refused")
    return Roots(said, frozenset(perhaps), elsewhere)


def _lines(data: bytes, name: str) -> Iterator[tuple[int, str]]:
    """Yield every line that is neither blank nor a comment, with its number."""
    for number, raw in enumerate(data.removeprefix(b"\xef\xbb\xbf").split(b"\n"), 1):
        try:
            text = raw.decode().strip()
        except UnicodeDecodeError:
            raise DocumentInvalid(f"{name}:{number}: not text in UTF-8") from None
        line = re.split(r"(?:^|\s)#", text, maxsplit=1)[0].strip()
        if line:
            yield number, line


_SCHEME: Final = re.compile("(?:docker|docker-pullable|oci)://")
"""What the container runtimes of Kubernetes and Helm put in front."""


def _readings(line: str, exists: Callable[[str], bool], hosts: Sequence[str]) -> list[Root]:
    """Return what a line may mean, the likeliest first; nothing if it names another host.

    Raises:
        ValueError: the line is not a reference.
    """
    text = _SCHEME.sub("", line, count=1) if _SCHEME.match(line) else line
    name, at, digest = text.rpartition("@")
    if not at and _is_digest(text):
        return [Root(None, Digest(text))]
    reference: str = _digest(digest) if at else ""
    if not at:
        name = text
    # The colon of a tag comes after the last slash; one before it belongs to a port.
    folder, slash, last = name.rpartition("/")
    last, colon, tag = last.partition(":")
    if colon:
        problem = tag_problem(tag)
        if problem is not None:
            raise ValueError(f"tag {tag!r} {problem}")
        reference = reference or tag
    if not reference:
        raise ValueError(
            "neither tag nor digest; give NAME:TAG, NAME@DIGEST or DIGEST, one on each line"
        )
    names = _names(f"{folder}{slash}{last}", exists, hosts)
    return [Root(name, reference) for name in names]


def _is_digest(text: str) -> bool:
    """Return whether `text` is a digest; a truncated one is an error, not a tag.

    Raises:
        ValueError: it begins like a digest and is not valid.
    """
    if not re.match(r"sha(256|384|512):", text):
        return False
    return bool(_digest(text))


def _digest(text: str) -> Digest:
    try:
        return Digest.parse(text)
    except DigestInvalid as error:
        raise ValueError(str(error)) from None


def _names(name: str, exists: Callable[[str], bool], hosts: Sequence[str]) -> list[str]:
    """Return the repositories that a name may mean, the likeliest first."""
    host, slash, rest = name.partition("/")
    is_host = bool(slash) and (host == "localhost" or bool({".", ":"} & set(host)))
    ours = _after_host(name, hosts) if hosts else rest if is_host else None
    if ours is None:
        return [] if hosts and is_host and not exists(name) else [_legal(name, exists)]
    if exists(name):
        return [name, ours] if exists(ours) else [name]
    return [_legal(ours, exists)]


def _after_host(name: str, hosts: Sequence[str]) -> str | None:
    """Return what follows the longest of the hosts that a name begins with; None if none does."""
    host, _, path = name.partition("/")
    found = []
    for one in hosts:
        known, _, prefix = one.strip("/").partition("/")
        start = f"{prefix}/" if prefix else ""
        if known.lower() == host.lower() and path != start and path.startswith(start):
            found.append(path.removeprefix(start))
    return min(filter(None, found), key=len, default=None)


def _legal(name: str, exists: Callable[[str], bool]) -> str:
    problem = name_problem(name)
    if problem is not None and not exists(name):
        raise ValueError(f"repository name {name!r} {problem}")
    return name


# -- in a tree ----------------------------------------------------------------------


def resolve(roots: Roots, inventory: Inventory) -> Resolved:
    """Return what roots refer to in a tree, with a finding for each that is missing."""
    resolution = _Resolution(inventory, {*roots.said, *roots.perhaps})
    missing = [item for item in roots.said.items() if not resolution.add(item[0])]
    for root in roots.perhaps:
        resolution.add(root)
    resolution.found.findings.extend(_missing(root, written) for root, written in missing)
    return resolution.found


class _Resolution:
    """A search for roots in one tree."""

    def __init__(self, inventory: Inventory, roots: set[Root]) -> None:
        self.inventory = inventory
        self.found = Resolved()
        wanted = {root.reference for root in roots if isinstance(root.reference, Digest)}
        self.holders: dict[str, set[str]] = {digest: set() for digest in wanted}
        """Digest -> repositories with a revision or a tag of it."""
        for name, repository in inventory.repositories.items():
            currents = {info.current for info in repository.tags.values()}
            for digest in wanted:
                if digest in currents or digest in repository.revisions:
                    self.holders[digest].add(name)

    def add(self, root: Root) -> bool:
        """Add what a root refers to; return whether it is there under its name."""
        if not isinstance(root.reference, Digest):
            return self._tag(root.name or "", root.reference)
        # Kept in other repositories too, because the image may have been moved.
        holders = self.holders[root.reference]
        for name in holders:
            self.found.manifests.setdefault(name, set()).add(root.reference)
            if root.name in (None, name):
                self.found.vouched.add(name)
        if not holders:
            self.found.blobs.add(root.reference)
        is_there = self._is_there(root.reference)
        return is_there and (root.name is None or root.name in holders)

    def _is_there(self, digest: Digest) -> bool:
        return self.inventory.blobs.get(digest) is not None

    def _tag(self, name: str, tag: str) -> bool:
        """Add what a tag points to; for an unreadable tag everything in its history."""
        repository = self.inventory.repositories.get(name)
        info = None if repository is None else repository.tags.get(tag)
        if info is None:
            return False
        self.found.manifests.setdefault(name, set()).update(info.targets)
        self.found.vouched.add(name)
        return info.current is not None and self._is_there(info.current)


def _missing(root: Root, written: str) -> Finding:
    """Return the finding for a root, at the path where it would be."""
    name, reference = root
    digest = reference if isinstance(reference, Digest) else None
    if name is None:
        path = layout.blob_folder(Digest(reference))
    elif digest is not None:
        path = layout.revision_folder(name, digest)
    else:
        path = layout.tag_folder(name, reference)
    return Finding(
        Code.ROOT_MISSING,
        path,
        digest=digest,
        repository=name,
        tag=None if digest is not None else reference,
        expected=written,
    )
