"""Makes large registry trees fast, for the benchmarks; knows the layout by itself, not from regfs.

What is made is valid for the reference registry: every file's bytes hash to
its name, every link is 71 bytes, every reference leads somewhere. Layers are
a few random bytes and no tar archives, so that a million of them fit on a disk;
with --files they are gzipped tars that hold so many files.

    python -m tests.benchmarks.treemaker DEST --blobs 100000 --manifests 20000

The same parameters and seed always make the same tree, times included: all are
of early 2024, so no age limit holds anything back. A tree is planned in memory
first (names and references, not layer bytes), then written by a few processes.
"""

from __future__ import annotations

import argparse
import errno
import gzip
import hashlib
import io
import json
import multiprocessing
import os
import random
import sys
import tarfile
from collections.abc import Iterable
from dataclasses import asdict, dataclass, field, fields
from itertools import accumulate, chain, islice
from typing import Any

WRITTEN_AT = 1_704_067_200
"""Modification time of everything: 2024-01-01T00:00:00Z; tag histories go on by the minute."""

V2 = "docker/registry/v2"
ALGORITHM = "sha256"
CREATE = os.O_WRONLY | os.O_CREAT | os.O_EXCL
MEDIA_TYPES = {
    "oci": {
        "manifest": "application/vnd.oci.image.manifest.v1+json",
        "index": "application/vnd.oci.image.index.v1+json",
        "config": "application/vnd.oci.image.config.v1+json",
        "layer": "application/vnd.oci.image.layer.v1.tar",
    },
    "docker": {
        "manifest": "application/vnd.docker.distribution.manifest.v2+json",
        "index": "application/vnd.docker.distribution.manifest.list.v2+json",
        "config": "application/vnd.docker.container.image.v1+json",
        "layer": "application/vnd.docker.image.rootfs.diff.tar.gzip",
    },
}
ARCHITECTURES = ("amd64", "arm64")


@dataclass(frozen=True, slots=True)
class Shape:
    """What a tree looks like; counts are exact unless said otherwise."""

    blobs: int = 100_000
    """All blobs: layers, configs, manifests and unreferenced ones."""
    manifests: int = 20_000
    """Image manifests and indexes, each a revision of exactly one repository."""
    repositories: int = 100
    tags: int = 120
    """Tags of each repository; further manifests become the history of these tags."""
    layers: int = 8
    """Layers of each image manifest; the lower ones are one of the shared bases."""
    below: int = 0
    """Layers of each base; 0 for half of those of an image."""
    layer_size: int = 0
    """Bytes of a layer, at least 16; 0 for various sizes of 16 to 64 bytes."""
    files: int = 0
    """Files of a layer, of layer_size bytes each; 0 for layers that are no archives."""
    unreferenced: float = 0.10
    """Share of blobs that no manifest names; every second one has a layer link."""
    untagged: float = 0.05
    """Share of the manifests of a repository that never had a tag, about."""
    indexes: float = 0.10
    """Share of manifests that are an index of two others, about."""
    bases: int = 10
    seed: int = 1


@dataclass(slots=True)
class Repository:
    """One repository to be written: hexadecimal digests all through."""

    name: str
    layers: dict[str, None] = field(default_factory=dict)
    revisions: list[str] = field(default_factory=list)
    tags: dict[str, list[str]] = field(default_factory=dict)
    """Tag -> every manifest it has pointed to, the current one last."""


@dataclass(frozen=True, slots=True)
class Summary:
    """What is in a tree that was made: what any honest reader must find."""

    blobs: int
    bytes: int
    repositories: int
    manifests: int
    indexes: int
    tags: int
    tag_history: int
    layer_links: int
    edges: int
    """References of all manifests: layers, configs and index children."""
    unreferenced_blobs: int
    """Blobs that no revision reaches."""
    unreferenced_bytes: int
    untagged_manifests: int
    """Revisions that no current tag reaches, directly or through an index."""
    untagged_blobs: int
    """Blobs that no current tag reaches: unreferenced ones and what untagged manifests hold."""


class Plan:
    """A tree in memory: blobs, what they point to, and the repositories."""

    def __init__(self, seed: int, layer_size: int = 0, files: int = 0) -> None:
        if 0 < layer_size < 16:
            raise ValueError("layers need at least 16 bytes, or they are not all different")
        self.seed = seed
        self.layer_size = layer_size
        self.files = files
        self.diff_ids: dict[str, str] = {}
        self.blobs: dict[str, bytes | int] = {}
        self.sizes: dict[str, int] = {}
        self.references: dict[str, list[str]] = {}
        self.indexes = 0
        self.repositories: list[Repository] = []
        self._layers = 0

    def layer_bytes(self, number: int) -> bytes:
        """Return the bytes of layer `number`."""
        if self.files:
            return gzip.compress(self.layer_tar(number), mtime=0)
        size = self.layer_size or 16 + number * 40_503 % 49
        token = hashlib.sha256(f"{self.seed}/{number}".encode()).digest()
        return (token * (size // len(token) + 1))[:size]

    def layer_tar(self, number: int) -> bytes:
        """Return the tar in layer `number`; it packs to about 40 %, as files usually do."""
        drawn = random.Random(f"{self.seed}/{number}")
        words = [drawn.randbytes(drawn.randrange(3, 9)).hex().encode() for _ in range(4000)]
        buffer = io.BytesIO()
        with tarfile.open(fileobj=buffer, mode="w") as archive:
            for place in range(self.files):
                entry = tarfile.TarInfo(f"usr/share/{place % 100}/{place}")
                entry.size = self.layer_size
                text = b" ".join(drawn.choices(words, k=self.layer_size // 6))
                archive.addfile(entry, io.BytesIO(text))
        return buffer.getvalue()

    def content(self, encoded: str) -> bytes:
        """Return the bytes of a blob; those of layers are made anew rather than kept."""
        kept = self.blobs[encoded]
        return self.layer_bytes(kept) if isinstance(kept, int) else kept

    def add_layers(self, count: int) -> list[str]:
        """Add layer blobs; return their digests."""
        added = []
        for number in range(self._layers, self._layers + count):
            data = self.layer_bytes(number)
            encoded = hashlib.sha256(data).hexdigest()
            self.blobs[encoded] = number
            self.sizes[encoded] = len(data)
            added.append(encoded)
            if self.files:
                self.diff_ids[encoded] = hashlib.sha256(self.layer_tar(number)).hexdigest()
        self._layers += count
        return added

    def add_image(self, repository: Repository, layers: list[str], kind: str, arch: str) -> str:
        """Add an image manifest and its config to a repository; return its digest."""
        types = MEDIA_TYPES[kind]
        diff_ids = [f"{ALGORITHM}:{self.diff_ids.get(layer, layer)}" for layer in layers]
        layer_type = types["layer"] + ("+gzip" if self.files and kind == "oci" else "")
        config = {
            "architecture": arch,
            "os": "linux",
            "config": {"Labels": {"number": str(len(self.references)), "seed": str(self.seed)}},
            "rootfs": {"type": "layers", "diff_ids": diff_ids},
        }
        config_digest = self._add_document(config)
        manifest = {
            "schemaVersion": 2,
            "mediaType": types["manifest"],
            "config": self._descriptor(types["config"], config_digest),
            "layers": [self._descriptor(layer_type, layer) for layer in layers],
        }
        repository.layers[config_digest] = None
        repository.layers.update(dict.fromkeys(layers))
        return self._add_manifest(repository, manifest, [config_digest, *layers])

    def add_index(self, repository: Repository, children: list[str], kind: str) -> str:
        """Add an index of image manifests to a repository; return its digest."""
        types = MEDIA_TYPES[kind]
        listed: list[dict[str, Any]] = [
            self._descriptor(types["manifest"], child)
            | {"platform": {"architecture": arch, "os": "linux"}}
            for child, arch in zip(children, ARCHITECTURES, strict=True)
        ]
        index = {"schemaVersion": 2, "mediaType": types["index"], "manifests": listed}
        self.indexes += 1
        return self._add_manifest(repository, index, children)

    def _add_manifest(
        self, repository: Repository, document: dict[str, Any], references: list[str]
    ) -> str:
        encoded = self._add_document(document)
        self.references[encoded] = references
        repository.revisions.append(encoded)
        return encoded

    def _add_document(self, document: dict[str, Any]) -> str:
        data = json.dumps(document, separators=(",", ":")).encode()
        encoded = hashlib.sha256(data).hexdigest()
        self.blobs[encoded] = data
        self.sizes[encoded] = len(data)
        return encoded

    def _descriptor(self, media_type: str, encoded: str) -> dict[str, Any]:
        return {
            "mediaType": media_type,
            "size": self.sizes[encoded],
            "digest": f"{ALGORITHM}:{encoded}",
        }

    def reach(self, manifests: Iterable[str]) -> set[str]:
        """Return every blob that `manifests` need, themselves included."""
        reached: set[str] = set()
        pending = list(manifests)
        while pending:
            encoded = pending.pop()
            if encoded not in reached:
                reached.add(encoded)
                pending.extend(self.references.get(encoded, ()))
        return reached

    def summary(self) -> Summary:
        """Return what the tree holds."""
        repositories = self.repositories
        histories = [history for each in repositories for history in each.tags.values()]
        referenced = self.reach(chain.from_iterable(each.revisions for each in repositories))
        tagged = self.reach(history[-1] for history in histories)
        unreferenced = self.blobs.keys() - referenced
        return Summary(
            blobs=len(self.blobs),
            bytes=sum(self.sizes.values()),
            repositories=len(repositories),
            manifests=len(self.references),
            indexes=self.indexes,
            tags=len(histories),
            tag_history=sum(map(len, histories)),
            layer_links=sum(len(each.layers) for each in repositories),
            edges=sum(map(len, self.references.values())),
            unreferenced_blobs=len(unreferenced),
            unreferenced_bytes=sum(self.sizes[encoded] for encoded in unreferenced),
            untagged_manifests=len(self.references.keys() - tagged),
            untagged_blobs=len(self.blobs.keys() - tagged),
        )


def share_out(total: int, parts: int) -> list[int]:
    """Split `total` into `parts` whole numbers that differ by one at most."""
    return [total * (part + 1) // parts - total * part // parts for part in range(parts)]


def repository_name(number: int) -> str:
    """Name a repository; every tenth one lies inside the one before it."""
    name = f"team-{number // 25:03}/app-{number - (number % 10 == 9):05}"
    return f"{name}/debug" if number % 10 == 9 else name


class Stock:
    """The layers images are made of: a few popular bases, and the rest dealt out in turn."""

    def __init__(self, plan: Plan, shape: Shape, images: int, layers: int) -> None:
        self._below = shape.below or shape.layers // 2
        self._above = shape.layers - self._below
        bases = max(1, min(shape.bases, images))
        own = layers - bases * self._below
        if not self._above <= own <= images * self._above:
            fit = layers - own + images * self._above
            raise ValueError(
                f"{images} images of {shape.layers} layers need between "
                f"{layers - own + self._above} and {fit} layer blobs; these counts leave {layers}"
            )
        self._bases = [plan.add_layers(self._below) for _ in range(bases)]
        self._weights = list(accumulate(1 / (rank + 1) for rank in range(bases)))
        self._own = plan.add_layers(own)
        self._random = random.Random(shape.seed)
        self._images = 0

    def next(self) -> list[str]:
        """Return the layers of the next image; each base is used at least once."""
        number = self._images
        self._images += 1
        if number < len(self._bases):
            base = self._bases[number]
        else:
            base = self._random.choices(self._bases, cum_weights=self._weights)[0]
        first = number * self._above
        return base + [
            self._own[place % len(self._own)] for place in range(first, first + self._above)
        ]


def plan_tree(shape: Shape) -> Plan:
    """Plan a tree of that shape.

    Raises:
        ValueError: the counts do not fit together.
    """
    plan = Plan(shape.seed, shape.layer_size, shape.files)
    manifests = share_out(shape.manifests, shape.repositories)
    wanted = share_out(round(shape.manifests * shape.indexes), shape.repositories)
    indexes = [min(pair) for pair in zip(wanted, (count // 3 for count in manifests), strict=True)]
    images = shape.manifests - sum(indexes)
    unreferenced = round(shape.blobs * shape.unreferenced)
    stock = Stock(plan, shape, images, shape.blobs - shape.manifests - images - unreferenced)
    for number in range(shape.repositories):
        repository = Repository(repository_name(number))
        kind = "docker" if number % 3 == 2 else "oci"
        singles = manifests[number] - 3 * indexes[number]
        tops = [plan.add_image(repository, stock.next(), kind, "amd64") for _ in range(singles)]
        for _ in range(indexes[number]):
            children = [
                plan.add_image(repository, stock.next(), kind, arch) for arch in ARCHITECTURES
            ]
            tops.append(plan.add_index(repository, children, kind))
        random.Random(f"{shape.seed}/{number}").shuffle(tops)
        hang_tags(repository, tops[round(len(tops) * shape.untagged) :], shape.tags)
        plan.repositories.append(repository)
    for number, encoded in enumerate(islice(plan.add_layers(unreferenced), 0, None, 2)):
        plan.repositories[number % shape.repositories].layers[encoded] = None
    return plan


def hang_tags(repository: Repository, manifests: list[str], tags: int) -> None:
    """Point `tags` tags at manifests: too many manifests make histories, too few are shared."""
    if not manifests:
        return
    for number in range(max(tags, len(manifests))):
        tag = f"v{number % tags}" if number % tags else "latest"
        repository.tags.setdefault(tag, []).append(manifests[number % len(manifests)])


def plan_one_repository(tags: int, layers: int, pushes: int = 2, seed: int = 1) -> Plan:
    """Plan one repository whose tags were each pushed `pushes` times; only the last is tagged."""
    images = tags * pushes
    own = images * (layers - layers // 2)
    shape = Shape(layers=layers, bases=10, seed=seed)
    plan = Plan(seed)
    stock = Stock(plan, shape, images, own + min(10, images) * (layers // 2))
    repository = Repository("library/app")
    plan.repositories.append(repository)
    pushed = [plan.add_image(repository, stock.next(), "oci", "amd64") for _ in range(images)]
    hang_tags(repository, pushed, tags)
    return plan


def write(plan: Plan, dest: str, processes: int = 2) -> None:
    """Write a planned tree below `dest`, which must not exist or be empty.

    Raises:
        FileExistsError: there is a tree already.
        RuntimeError: a writing process failed; its traceback is on stderr.
    """
    root = os.path.join(dest, V2)
    os.makedirs(os.path.join(root, "blobs", ALGORITHM))
    prefixes: dict[str, list[str]] = {}
    for encoded in plan.blobs:
        prefixes.setdefault(encoded[:2], []).append(encoded)
    fork = multiprocessing.get_context("fork")  # the plan is shared, not copied through a pipe
    workers = [
        fork.Process(target=write_part, args=(plan, root, prefixes, part, processes))
        for part in range(processes)
    ]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    if any(worker.exitcode for worker in workers):
        raise RuntimeError(f"{dest}: the tree could not be written")
    set_back(dest, plan)


def write_part(
    plan: Plan, root: str, prefixes: dict[str, list[str]], part: int, parts: int
) -> None:
    """Write every `parts`-th folder of blobs and every `parts`-th repository."""
    for prefix in islice(sorted(prefixes), part, None, parts):
        files = ((encoded, plan.content(encoded), WRITTEN_AT) for encoded in prefixes[prefix])
        write_files(os.path.join(root, "blobs", ALGORITHM, prefix), "data", files)
    for repository in islice(plan.repositories, part, None, parts):
        write_repository(os.path.join(root, "repositories", repository.name), repository)


def write_repository(folder: str, repository: Repository) -> None:
    """Write the links of one repository."""
    write_files(f"{folder}/_layers/{ALGORITHM}", "link", links(repository.layers))
    manifests = f"{folder}/_manifests"
    write_files(f"{manifests}/revisions/{ALGORITHM}", "link", links(repository.revisions))
    os.makedirs(f"{folder}/_uploads")
    os.makedirs(f"{manifests}/tags")
    for tag, history in repository.tags.items():
        entries = list(links(history, step=60))
        write_files(f"{manifests}/tags/{tag}/index/{ALGORITHM}", "link", entries)
        os.utime(f"{manifests}/tags/{tag}/index", (WRITTEN_AT, WRITTEN_AT))
        _, current, mtime = entries[-1]
        write_files(f"{manifests}/tags/{tag}", "link", [("current", current, mtime)])
    for below in ("_layers", "_manifests/revisions", "_manifests/tags", "_manifests", "_uploads"):
        os.utime(f"{folder}/{below}", (WRITTEN_AT, WRITTEN_AT))


def links(digests: Iterable[str], step: int = 0) -> Iterable[tuple[str, bytes, int]]:
    """Yield the name, content and time of the link of each digest."""
    for number, encoded in enumerate(digests):
        yield encoded, f"{ALGORITHM}:{encoded}".encode(), WRITTEN_AT + number * step


def write_files(folder: str, leaf: str, files: Iterable[tuple[str, bytes, int]]) -> None:
    """Write `<folder>/<name>/<leaf>` for each name, content and time."""
    os.makedirs(folder, exist_ok=True)
    parent = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        for name, data, mtime in files:
            os.mkdir(name, dir_fd=parent)
            file = os.open(f"{name}/{leaf}", CREATE, 0o666, dir_fd=parent)
            try:
                if os.write(file, data) != len(data):
                    raise OSError(errno.ENOSPC, "not all bytes were written", f"{folder}/{name}")
                os.utime(file, (mtime, mtime))
            finally:
                os.close(file)
            os.utime(name, (mtime, mtime), dir_fd=parent)
        os.utime(parent, (WRITTEN_AT, WRITTEN_AT))
    finally:
        os.close(parent)


def set_back(dest: str, plan: Plan) -> None:
    """Set the times of the folders that several processes wrote into."""
    written = [f"{V2}/blobs/{ALGORITHM}/any"]
    written += [f"{V2}/repositories/{repository.name}/any" for repository in plan.repositories]
    folders = {""}
    for folder in written:
        while folder := os.path.dirname(folder):
            folders.add(folder)
    for folder in folders:
        os.utime(os.path.join(dest, folder), (WRITTEN_AT, WRITTEN_AT))


def make_tree(dest: str, shape: Shape, processes: int = 2) -> Summary:
    """Make a tree of that shape at `dest`; return what is in it."""
    plan = plan_tree(shape)
    write(plan, dest, processes)
    return plan.summary()


def one_repository(dest: str, tags: int = 1000, layers: int = 8, pushes: int = 2) -> Summary:
    """Make one repository at `dest` whose tags were pushed `pushes` times each."""
    plan = plan_one_repository(tags, layers, pushes)
    write(plan, dest)
    return plan.summary()


def main(arguments: list[str] | None = None) -> int:
    """Make a tree; print what is in it as JSON."""
    parser = argparse.ArgumentParser(prog="treemaker", description="Make a large registry tree.")
    parser.add_argument("dest", help="a folder that does not exist, or is empty")
    parser.add_argument("--processes", type=int, default=2)
    parser.add_argument(
        "--one-repository", action="store_true", help="use only --tags, --layers and --pushes"
    )
    parser.add_argument("--pushes", type=int, default=2, help="manifests each tag has had")
    defaults = Shape()
    for each in fields(Shape):
        default = getattr(defaults, each.name)
        option = "--" + each.name.replace("_", "-")
        parser.add_argument(option, type=type(default), default=default, help=f"[{default}]")
    options = parser.parse_args(arguments)
    try:
        if options.one_repository:
            summary = one_repository(options.dest, options.tags, options.layers, options.pushes)
        else:
            shape = Shape(**{each.name: getattr(options, each.name) for each in fields(Shape)})
            summary = make_tree(options.dest, shape, options.processes)
    except (ValueError, OSError) as error:
        parser.error(str(error))
    print(json.dumps(asdict(summary), indent=2))
    return 0


if __name__ == "__main__":
    sys.exit(main())
