"""Every way a registry tree is broken in the field, by name: `tree.break_("blob-flipped", ...)`.

    @pytest.mark.parametrize("kind", DAMAGE)
    def test_survives(tree, kind):
        tree.push("app", "v1")
        tree.break_(kind, "app", "v1")

Each takes an image that is whole (an index counts by its first child where a
layer is wanted) and returns the path it damaged or made. Ages stay what they were.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.support.builder import TreeBuilder
from tests.support.images import OCI_INDEX, OCI_MANIFEST, digest_of, dumps

OTHER = digest_of(b"another digest, of nothing in any tree")
_ABSENT = {"mediaType": OCI_MANIFEST, "digest": OTHER, "size": 2}


@dataclass(frozen=True)
class Victim:
    """What is to be damaged."""

    tree: TreeBuilder
    name: str
    tag: str
    chosen: str | None = None
    """The blob to damage; the first layer when there is no choice."""

    @property
    def manifest(self) -> str:
        return self.tree.current(self.name, self.tag)

    @property
    def image(self) -> dict[str, Any]:
        document = self.tree.document(self.manifest)
        while "manifests" in document:
            document = self.tree.document(document["manifests"][0]["digest"])
        return document

    @property
    def blob(self) -> str:
        return self.chosen or str(self.image["layers"][0]["digest"])

    @property
    def data(self) -> Path:
        return self.tree.blob_path(self.blob)

    @property
    def manifest_data(self) -> Path:
        return self.tree.blob_path(self.chosen or self.manifest)


Damage = Callable[[Victim], Path]
DAMAGE: dict[str, Damage] = {}


def _damage(kind: str) -> Callable[[Damage], Damage]:
    def add(function: Damage) -> Damage:
        DAMAGE[kind] = function
        return function

    return add


def _flip(victim: Victim, path: Path) -> Path:
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 0x01
    return victim.tree.write(path, bytes(data))


def _removed(path: Path) -> Path:
    path.unlink()
    return path


# What a blob can suffer

DAMAGE["blob-flipped"] = lambda v: _flip(v, v.data)
DAMAGE["blob-truncated"] = lambda v: v.tree.write(v.data, v.data.read_bytes()[:-1])
DAMAGE["blob-grown"] = lambda v: v.tree.write(v.data, v.data.read_bytes() + b"\0")
DAMAGE["blob-empty"] = lambda v: v.tree.write(v.data, b"")
DAMAGE["blob-missing"] = lambda v: _removed(v.data)


@_damage("blob-folder-missing")
def _blob_folder_missing(victim: Victim) -> Path:
    victim.tree.delete_blob(victim.blob)
    return victim.data


@_damage("blob-wrong-prefix")
def _blob_wrong_prefix(victim: Victim) -> Path:
    source = victim.data.parent
    target = source.parent.parent / ("00" if source.name[:2] != "00" else "ff") / source.name
    victim.tree.folder(target.parent)
    source.rename(target)
    victim.tree.folder(source.parent)
    return target / "data"


@_damage("fifo-data")
def _fifo_data(victim: Victim) -> Path:
    os.mkfifo(_removed(victim.data))
    return victim.data


@_damage("folder-data")
def _folder_data(victim: Victim) -> Path:
    return victim.tree.folder(_removed(victim.data))


# What a link can suffer: revision links, layer links, and the current link of a tag


def _revision_link(victim: Victim) -> Path:
    return victim.tree.revision_path(victim.name, victim.chosen or victim.manifest)


def _layer_link(victim: Victim) -> Path:
    return victim.tree.layer_path(victim.name, victim.blob)


def _current_link(victim: Victim) -> Path:
    return victim.tree.tag_path(victim.name, victim.tag)


def _add_links(prefix: str, find: Callable[[Victim], Path]) -> None:
    def rewrite(change: Callable[[str], str]) -> Damage:
        return lambda v: v.tree.write(find(v), change(find(v).read_text()))

    DAMAGE[f"{prefix}-empty"] = rewrite(lambda _: "")
    DAMAGE[f"{prefix}-newline"] = rewrite(lambda text: text + "\n")
    DAMAGE[f"{prefix}-garbage"] = rewrite(lambda _: "\0\ufffd not a digest")
    DAMAGE[f"{prefix}-bare-hex"] = rewrite(lambda text: text.partition(":")[2])
    DAMAGE[f"{prefix}-truncated"] = rewrite(lambda text: text[:-1])
    DAMAGE[f"{prefix}-other-digest"] = rewrite(lambda _: OTHER)
    DAMAGE[f"{prefix}-missing"] = lambda v: _removed(find(v))


_add_links("link", _revision_link)
_add_links("layer-link", _layer_link)
_add_links("tag-current", _current_link)


@_damage("tag-without-current")
def _tag_without_current(victim: Victim) -> Path:
    shutil.rmtree(_current_link(victim).parent)
    return _current_link(victim)


@_damage("tag-index-missing")
def _tag_index_missing(victim: Victim) -> Path:
    folder = victim.tree.tag_folder(victim.name, victim.tag) / "index"
    shutil.rmtree(folder)
    return folder


@_damage("fifo-link")
def _fifo_link(victim: Victim) -> Path:
    os.mkfifo(_removed(_revision_link(victim)))
    return _revision_link(victim)


@_damage("repository-tagless")
def _repository_tagless(victim: Victim) -> Path:
    folder = victim.tree.tag_folder(victim.name, victim.tag).parent
    shutil.rmtree(folder)
    return folder


DAMAGE["layer-link-dangling"] = lambda v: v.tree.layer_link(v.name, OTHER)


# What a manifest can suffer: the bytes change under their digest

DAMAGE["manifest-missing"] = lambda v: _removed(v.manifest_data)
DAMAGE["manifest-empty"] = lambda v: v.tree.write(v.manifest_data, b"")
DAMAGE["manifest-flipped"] = lambda v: _flip(v, v.manifest_data)
DAMAGE["manifest-truncated"] = lambda v: v.tree.write(
    v.manifest_data, v.manifest_data.read_bytes()[:-20]
)
DAMAGE["manifest-not-json"] = lambda v: v.tree.write(v.manifest_data, b"\x1f\x8b not JSON")
DAMAGE["manifest-other-json"] = lambda v: v.tree.write(v.manifest_data, b'{"schemaVersion":2}')


@_damage("manifest-too-large")
def _manifest_too_large(victim: Victim) -> Path:
    os.truncate(victim.manifest_data, 256 << 20)  # a hole: it takes no room
    return victim.manifest_data


# What a manifest can be: pushed like any other, under the victim's tag, and its digest is right


def _retag(victim: Victim, data: bytes) -> Path:
    digest = victim.tree.blob(data)
    victim.tree.revision(victim.name, digest)
    victim.tree.tag(victim.name, victim.tag, digest)
    return victim.tree.blob_path(digest)


@_damage("manifest-unknown-type")
def _manifest_unknown_type(victim: Victim) -> Path:
    document = {"mediaType": "application/vnd.example.future+json", "things": victim.image}
    return _retag(victim, dumps(document))


DAMAGE["manifest-deep"] = lambda v: _retag(v, b'{"a":' * 20_000 + b"1" + b"}" * 20_000)
DAMAGE["manifest-wrong-types"] = lambda v: _retag(
    v, dumps({"schemaVersion": "2", "config": [], "layers": {"digest": v.blob}, "manifests": 7})
)
DAMAGE["manifest-bogus-digest"] = lambda v: _retag(
    v, dumps({**v.image, "layers": [{**v.image["layers"][0], "digest": "../../../../etc"}]})
)
DAMAGE["descriptor-wrong-size"] = lambda v: _retag(
    v, dumps({**v.image, "layers": [{**v.image["layers"][0], "size": 1}]})
)
DAMAGE["subject-missing"] = lambda v: _retag(v, dumps({**v.image, "subject": _ABSENT}))


@_damage("index-child-missing")
def _index_child_missing(victim: Victim) -> Path:
    document = victim.tree.document(victim.manifest)
    there = {
        "mediaType": document["mediaType"],
        "digest": victim.manifest,
        "size": victim.tree.blob_path(victim.manifest).stat().st_size,
    }
    index = {"schemaVersion": 2, "mediaType": OCI_INDEX, "manifests": [there, _ABSENT]}
    return _retag(victim, dumps(index))


# What can lie around


def _symlink(path: Path, target: str) -> Path:
    path.symlink_to(target)
    return path


DAMAGE["symlink-outside"] = lambda v: _symlink(_removed(v.data), "/etc/hostname")
DAMAGE["symlink-loop"] = lambda v: _symlink(
    v.tree.repository_path(v.name) / "loop", "../" + Path(v.name).name
)
DAMAGE["symlink-dangling"] = lambda v: _symlink(_removed(v.data), "nowhere")
DAMAGE["temporary-file"] = lambda v: v.tree.write(
    v.data.with_name("data.0b0f8d5e-8a0f-4c59-9d52-3a8d35a0a9b1.tmp"), b"half"
)
DAMAGE["foreign-file"] = lambda v: v.tree.write(
    v.tree.repository_path(v.name) / "NOTES.txt", b"ask Bob"
)
DAMAGE["junk-file"] = lambda v: v.tree.write(
    v.tree.repository_path(v.name) / ".DS_Store", b"\0\0\0\1Bud1"
)
DAMAGE["junk-folder"] = lambda v: (
    v.tree.write(
        v.tree.repository_path(v.name) / "_manifests/tags/@eaDir/SYNO@.fileindexdb", b"\0"
    ).parent
)
DAMAGE["rsync-half"] = lambda v: v.tree.write(v.data.with_name(".data.Xy12Ab"), b"half")
DAMAGE["foreign-blob"] = lambda v: v.tree.write(v.tree.v2 / "blobs/sha256/README", b"keep out")
DAMAGE["blob-unreferenced"] = lambda v: v.tree.blob_path(v.tree.blob(b"of a push that failed"))
DAMAGE["layer-link-unused"] = lambda v: v.tree.layer_path(
    v.name, v.tree.add_blob(v.name, "of a push that failed")
)
DAMAGE["tag-invalid"] = lambda v: v.tree.tag(v.name, "-not-a-tag", v.manifest).parent.parent
DAMAGE["algorithm-unknown"] = lambda v: v.tree.write(
    v.tree.v2 / "blobs/md5/d4" / ("d4" * 16) / "data", b"old"
)
DAMAGE["uppercase-digest"] = lambda v: v.tree.write(
    v.tree.v2 / "blobs/sha256/AB" / ("AB" * 32) / "data", b"old"
)
DAMAGE["repository-invalid-name"] = lambda v: v.tree.folder(
    v.tree.repository_path("Bad/Name") / "_manifests"
)
DAMAGE["repository-empty"] = lambda v: v.tree.folder(
    v.tree.repository_path("nothing/here") / "_layers"
)
DAMAGE["directory-empty"] = lambda v: v.tree.folder(
    v.tree.layer_path(v.name, digest_of(b"deleted")).parent
)
DAMAGE["upload-without-startedat"] = lambda v: v.tree.write(
    v.tree.upload_path(v.name, "0b0f8d5e-8a0f-4c59-9d52-3a8d35a0a9b1") / "data", b"half"
)


@_damage("name-not-utf8")
def _name_not_utf8(victim: Victim) -> Path:
    name = os.fsdecode(b"caf\xe9")
    return victim.tree.write(victim.tree.repository_path(name) / "_manifests/stray", b"x")
