"""Whether images are what their configs say: every layer's diffID, their number, the config itself.

    begin    finds the layers to unpack                      from the manifests
    take     takes the diffID of each as it is hashed        content.py
    finish   compares each manifest and config with those    from the manifests again

Reading the manifests twice costs less than keeping every diffID of 10^5 configs: a layer takes
32 bytes, whatever number of images use it. A layer that is not unpacked in this run (missing,
corrupt, not due or out of scope) is not compared. Whether a manifest and a layer match never
changes, so once is enough; the layers of a manifest that was never compared (`fresh`) are due
whatever the ledger says.

Only layers of images are unpacked: blobs with the media type of a layer, in a manifest whose
config has a root filesystem. Charts, WebAssembly, signatures, attestations and build caches can
hold anything, and so can artifacts of ORAS, which gives plain files the media type of a layer by
default. Encrypted layers are opaque, and foreign ones may be absent.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import replace
from typing import Final

from regfs import layout
from regfs.content.hashing import Layer
from regfs.content.layers import Packing, is_filesystem, packing_of
from regfs.digest import CANONICAL, Digest
from regfs.errors import ManifestInvalid, RegfsError
from regfs.findings import Code, Finding, Severity
from regfs.graph import Graph
from regfs.manifests import (
    IMAGE_CONFIGS,
    LIMIT,
    DockerManifest,
    DockerManifestV1,
    ImageManifest,
    Kind,
    Manifest,
    signed_payload,
)
from regfs.manifests.image_config import ImageConfig, parse_config
from regfs.stores import ignore
from regfs.verify.context import Context

_SIZE: Final = 32
"""Bytes of a diffID: a sha256 without its prefix."""
_NOT, _WANTED, *_PACKINGS = range(2 + len(Packing))
"""The state of a blob: not a layer, a layer to unpack, or how it is packed."""
_BY_STATE: Final = dict(zip(_PACKINGS, Packing, strict=True))
_STATES: Final = {packing: state for state, packing in _BY_STATE.items()}


class Unpacking:
    """The level `content` of one verification."""

    def __init__(self, context: Context, graph: Graph) -> None:
        self._context = context
        self._graph = graph
        self._blobs = context.inventory.blobs
        self._states = bytearray(len(self._blobs))
        self._diff_ids = bytearray(_SIZE * len(self._blobs))
        self._configs: dict[Digest, bool] = {}
        """Config -> whether it is the config of an image."""
        self.fresh: set[Digest] = set()
        """Layers of manifests that were never compared with them."""
        self.unfinished: set[Digest] = set()
        """Manifests with a fresh layer that was not unpacked in this run either."""

    def begin(self, is_proven: Callable[[Digest], bool] = lambda manifest: False) -> None:
        """Find the layers, and check what needs only the manifests."""
        for digest, manifest in self._images("Finding layers"):
            if isinstance(manifest, DockerManifestV1):
                self._check_signature(digest, manifest)
                layers = [layer.blob_sum for layer in manifest.fs_layers]
            elif isinstance(manifest, ImageManifest | DockerManifest) and self._runs(manifest):
                layers = [one.digest for one in manifest.layers if packing_of(one.media_type)]
            else:
                continue
            fresh = not is_proven(digest)
            for layer in layers:
                for name in self._names(layer):
                    if (number := self._blobs.find(name)) is not None:
                        self._states[number] = _WANTED
                        if fresh:
                            self.fresh.add(name)

    def wants(self, blob: Digest) -> bool:
        """Return whether a blob is to be unpacked."""
        return self._states[self._blobs.row(blob)] == _WANTED

    def take(self, layers: Iterable[Layer]) -> None:
        """Take the diffIDs of layers that were unpacked."""
        for layer in layers:
            number = self._blobs.row(layer.digest)
            self._states[number] = _STATES[layer.packing]
            place = number * _SIZE
            self._diff_ids[place : place + _SIZE] = bytes.fromhex(layer.diff_id.encoded)

    def finish(self) -> None:
        """Compare images with their unpacked layers."""
        for digest, manifest in self._images("Comparing configs"):
            if isinstance(manifest, ImageManifest | DockerManifest) and self._runs(manifest):
                self._check_image(digest, manifest)

    def _images(self, task: str) -> Iterator[tuple[Digest, Manifest]]:
        """Yield the manifests in scope that may have layers."""
        context, graph = self._context, self._graph
        kinds = (Kind.IMAGE, Kind.SCHEMA1)
        asked = [
            digest
            for digest, info in graph.manifests.items()
            if info.kind in kinds
            and digest not in graph.problems
            and context.scope.has_blob(digest)
        ]
        context.progress.start(task, len(asked))
        for digest in asked:
            context.progress.advance(1)
            try:
                manifest = context.registry.manifest(digest)
            except RegfsError:
                continue  # it was readable a moment ago: deleted, or reported elsewhere
            yield digest, manifest
        context.progress.finish()

    def _runs(self, manifest: ImageManifest | DockerManifest) -> bool:
        """Return whether a manifest is that of an image: its config has a root filesystem.

        If the config cannot be read, its media type decides.
        """
        if manifest.config.media_type not in IMAGE_CONFIGS:
            return False
        digest = manifest.config.digest
        if digest not in self._configs:
            config = self._read_config(digest)
            self._configs[digest] = config is None or "rootfs" in config.model_fields_set
        return self._configs[digest]

    def _names(self, blob: Digest) -> tuple[Digest, ...]:
        """Return a digest, and those of the same content in other algorithms."""
        return (blob, *self._graph.aliases.get(blob, ()))

    def _check_signature(self, digest: Digest, manifest: DockerManifestV1) -> None:
        finding = Finding(Code.SIGNATURE_MISSING, layout.blob_path(digest), digest)
        if not manifest.signatures:
            # Registries since 2.5 store what was signed and sign it anew when they serve it.
            self._context.add(replace(finding, override=Severity.INFO))
            return
        try:
            signed_payload(self._context.registry.manifest_bytes(digest))
        except ManifestInvalid as error:
            self._context.add(replace(finding, actual=str(error)))
        except RegfsError:
            return  # as above

    def _check_image(self, digest: Digest, manifest: ImageManifest | DockerManifest) -> None:
        diff_ids: tuple[Digest, ...] = ()
        config = self._config(manifest.config.digest)
        if config is not None and all(is_filesystem(one.media_type) for one in manifest.layers):
            self._check_counts(digest, len(manifest.layers), config)
            diff_ids = config.rootfs.diff_ids
        if len(diff_ids) != len(manifest.layers):
            diff_ids = ()  # it is unknown which belongs to which
        for position, layer in enumerate(manifest.layers):
            packing = packing_of(layer.media_type)
            if packing is None:
                continue
            if (unpacked := self._unpacked(layer.digest)) is None:
                if layer.digest in self.fresh:
                    self.unfinished.add(digest)
                continue
            found, diff_id = unpacked
            finding = Finding(Code.LAYER_TYPE_MISMATCH, layout.blob_path(layer.digest), digest)
            if found is not packing:
                self._context.add(_comparison(finding, packing.value, found.value))
            if diff_ids and diff_ids[position] != diff_id:
                if diff_ids[position].algorithm != CANONICAL:
                    continue
                finding = Finding(Code.DIFFID_MISMATCH, layout.blob_path(layer.digest), digest)
                self._context.add(_comparison(finding, diff_ids[position], diff_id))

    def _unpacked(self, layer: Digest) -> tuple[Packing, Digest] | None:
        for name in self._names(layer):
            number = self._blobs.find(name)
            if number is not None and self._states[number] in _BY_STATE:
                place = number * _SIZE
                diff_id = self._diff_ids[place : place + _SIZE].hex()
                return _BY_STATE[self._states[number]], Digest(f"{CANONICAL}:{diff_id}")
        return None

    def _config(self, digest: Digest) -> ImageConfig | None:
        """Return a config; None if it is missing, corrupt, or reported as unreadable."""
        return self._read_config(digest, self._context.add)

    def _read_config(
        self, digest: Digest, report: Callable[[Finding], None] = ignore
    ) -> ImageConfig | None:
        stored = next((one for one in self._names(digest) if one in self._blobs), None)
        if stored is None:
            return None
        path = layout.blob_path(stored)
        try:
            data = self._context.registry.store.read(path, LIMIT + 1)
            if len(data) <= LIMIT and Digest.of(data, stored.algorithm) != stored:
                return None  # reported when it was hashed
            return parse_config(data)
        except ManifestInvalid as error:
            report(Finding(Code.CONFIG_UNREADABLE, path, stored, actual=str(error)))
        except RegfsError:
            return None  # reported when it was hashed
        return None

    def _check_counts(self, digest: Digest, layers: int, config: ImageConfig) -> None:
        expected = f"{layers} layers"
        finding = Finding(Code.LAYER_COUNT_MISMATCH, layout.blob_path(digest), digest)
        diff_ids = len(config.rootfs.diff_ids)
        steps = sum(1 for entry in config.history if not entry.empty_layer)
        if diff_ids != layers:
            self._context.add(_comparison(finding, expected, f"{diff_ids} diffIDs"))
        elif config.history and steps != layers:
            # Clients ignore it; it only misleads tools that show how an image was built.
            actual = f"{steps} history entries with a layer"
            self._context.add(_comparison(finding, expected, actual, Severity.WARNING))


def _comparison(
    finding: Finding, expected: str, actual: str, override: Severity | None = None
) -> Finding:
    return replace(finding, expected=expected, actual=actual, override=override)
