"""What later layers hide in each image and in each layer, image by image along their layers.

asked     app:v1  base a b      app:v2  base a c      web:v1  base d
laid      +base +a +b           -b +c                 -c -a +d
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final, NamedTuple

from regfs.digest import Digest
from regfs.errors import RegfsError
from regfs.files.efficiency import Efficiency
from regfs.files.image import ImageFiles, image_files
from regfs.files.layer_stack import HiddenFile, LayerStack
from regfs.files.layers import Layers
from regfs.files.listing import LayerListing
from regfs.findings import Severity
from regfs.names import natural
from regfs.progress import Progress
from regfs.reports.images import Image
from regfs.reports.layer_makers import Makers
from regfs.reports.wasted_places import HiddenPlace, HiddenTally
from regfs.tree.registry import Registry

NAMES: Final = 10
"""Images that are named under one place."""


@dataclass(frozen=True, slots=True)
class WastedFile:
    """A file in an image that nobody sees."""

    path: str
    size: int
    layer: str
    """Digest of its layer."""
    position: int
    """Of its layer in the image: the base is 1."""
    made_by: str
    """The instruction that made this layer; empty if the history does not say."""
    hidden_at: int
    """Position of the layer that hides it."""
    hidden_by: str
    """The instruction that made that layer."""
    removed: bool
    """Whether it is removed; else it is overwritten."""


@dataclass(frozen=True, slots=True)
class ImageWaste:
    """What one image carries."""

    image: str
    manifest: str
    layers: int
    stored: int
    """Bytes of the files in all its layers."""
    hidden: int
    """Those of them that nobody sees in the image."""
    efficiency: float | None
    """As dive computes it; None if a layer could not be read to its end."""
    unread: int
    """Layers that could not be read to their end: more may be hidden."""
    files: tuple[WastedFile, ...]
    """The largest hidden files, if the image was asked for by name."""
    files_omitted: int


@dataclass(frozen=True, slots=True)
class WastedPlace:
    """A folder of a layer with files that images do not show.

    Layers that the same instruction has made count together.
    """

    folder: str
    """Empty for the root."""
    layer: str
    """The digest of the layer; of several that with most bytes."""
    layers: int
    bytes: int
    """Stored once; what is counted for a folder inside is not counted again."""
    files: int
    unseen: int | None
    """Bytes that no image shows; None if only some images are asked for."""
    removed: int
    """Bytes that are removed; the rest is overwritten."""
    largest: str
    """Path of the largest of these files."""
    images: int
    """Images that carry these bytes and do not show them."""
    users: int
    """How often images have the layers."""
    used_by: tuple[str, ...]
    """The names of some of the former."""
    made_by: str
    """The instruction that made the layers; empty if the history does not say."""
    hidden_by: str
    """The instruction that hides the largest file, in the first of these images."""


class Lister:
    """Lists layers as parts of their images, which say what need not be there or is encrypted."""

    def __init__(self, registry: Registry, layers: Layers) -> None:
        self._registry = registry
        self._layers = layers
        self._manifest: Digest | None = None
        self._files: ImageFiles | None = None
        self._numbers: dict[Digest, int] = {}
        self._last: LayerListing | None = None
        """An image may have one layer thousands of times."""

    def listing(self, image: Image, layer: Digest) -> LayerListing:
        """Return what is in a layer of an image, as far as it can be read."""
        if self._last is not None and self._last.digest == layer:
            return self._last
        if self._manifest != image.manifest:
            self._turn_to(image)
        number = self._numbers.get(layer)
        if self._files is None or number is None:
            self._last = self._layers.listing(layer)
        else:
            self._last = self._files.listing(number)
        return self._last

    def _turn_to(self, image: Image) -> None:
        reference = f"{image.repository}@{image.manifest}"
        self._manifest, self._files, self._numbers = image.manifest, None, {}
        try:
            self._files = image_files(self._registry, self._layers, reference)
        except RegfsError:  # it is no image for `files`, or no longer what it was
            return
        self._numbers = {digest: number for number, digest in enumerate(self._files.layers)}


class _WalkedLayer(NamedTuple):
    """A layer that is on the stack."""

    layer: Digest
    image: int
    """The first of the images that have it here."""
    hidden: list[HiddenFile]
    """What it hides."""
    whole: bool
    """Whether it could be read to its end."""


class WasteWalk:
    """Lays the layers of all images, one image after the other."""

    def __init__(self, asked: list[Image], lister: Lister, makers: Makers) -> None:
        """`asked` is in the order of the layers."""
        self.tallies: dict[Digest, HiddenTally] = {}
        self._asked = asked
        self._lister = lister
        self._makers = makers
        self._stack = LayerStack()
        self._efficiency = Efficiency()
        self._levels: list[_WalkedLayer] = []

    def rows(
        self, top: int | None, progress: Progress, *, name_files: bool
    ) -> Iterator[ImageWaste]:
        """Yield what each image carries; with `name_files` also its `top` largest hidden files."""
        progress.start("Stacking layers", len(self._asked))
        for number, image in enumerate(self._asked):
            self._lay(number, image)
            yield self._row(image, top, name_files)
            progress.advance(1)
        while self._levels:
            self._pop(len(self._asked))
        progress.finish()

    def _lay(self, number: int, image: Image) -> None:
        """Turn the stack of the image before into that of an image."""
        same = 0
        for laid, layer in zip(self._levels, image.layers, strict=False):
            if laid.layer != layer:
                break
            same += 1
        while len(self._levels) > same:
            self._pop(number)
        for layer in image.layers[same:]:
            self._push(number, image, layer)
        for layer in image.layers:
            self.tallies[layer].uses += 1

    def _push(self, number: int, image: Image, layer: Digest) -> None:
        listing = self._lister.listing(image, layer)
        if layer not in self.tallies:
            self.tallies[layer] = HiddenTally(layer, sum(listing.columns.sizes))
        whole = all(one.severity is not Severity.ERROR for one in listing.findings)
        self._efficiency.push(listing)
        self._levels.append(_WalkedLayer(layer, number, self._stack.push(listing), whole))

    def _pop(self, number: int) -> None:
        """Take the top layer off; all images from that for which it was laid on have had it."""
        top = self._levels[-1]
        for hidden in top.hidden:
            owner = self._levels[hidden.layer].layer
            self.tallies[owner].add(hidden, top.image, number)
        self._levels.pop()
        self._stack.pop()
        self._efficiency.pop()

    def _row(self, image: Image, top: int | None, name_files: bool) -> ImageWaste:
        unread = sum(not laid.whole for laid in self._levels)
        files: list[WastedFile] = []
        omitted = 0
        if name_files:
            hidden = list(self._stack.hides())
            hidden.sort(key=lambda one: (-one.size, one.path))
            files = [self._file(image, one) for one in hidden[:top]]
            omitted = len(hidden) - len(files)
        return ImageWaste(
            image=image.name,
            manifest=image.manifest,
            layers=len(image.layers),
            stored=self._stack.stored,
            hidden=self._stack.hidden,
            efficiency=None if unread else self._efficiency.score,
            unread=unread,
            files=tuple(files),
            files_omitted=omitted,
        )

    def _file(self, image: Image, hidden: HiddenFile) -> WastedFile:
        made = self._makers.of(image)
        return WastedFile(
            path=hidden.path,
            size=hidden.size,
            layer=image.layers[hidden.layer],
            position=hidden.layer + 1,
            made_by=made[hidden.layer],
            hidden_at=hidden.by + 1,
            hidden_by=made[hidden.by],
            removed=hidden.removed,
        )

    def places(self) -> list[list[HiddenPlace]]:
        """Return the places, those of layers that one instruction has made together.

        Those with most bytes are first.
        """
        found: dict[tuple[str, str], list[HiddenPlace]] = {}
        for tally in self.tallies.values():
            for place in tally.places():
                made_by = self._makers.made_by(place.layer, self._asked[place.hider[0]])
                found.setdefault((place.folder, made_by), []).append(place)
        for places in found.values():
            places.sort(key=lambda place: (-place.bytes, place.layer))
        return sorted(
            found.values(), key=lambda places: (-_bytes(places), places[0].folder, places[0].layer)
        )

    def told(self, places: list[HiddenPlace], *, every: bool) -> WastedPlace:
        """Return places that belong together with the names of images and instructions.

        `every` says that all images of the registry were laid.
        """
        layers = [place.layer for place in places]
        whole = HiddenPlace(layers[0], places[0].folder)
        for place in places:
            whole.take(place)
        number, position = whole.hider
        first = self._asked[number]
        names = sorted((self._asked[one].name for one in whole.numbers()), key=natural)
        return WastedPlace(
            folder=whole.folder,
            layer=whole.layer,
            layers=len(layers),
            bytes=whole.bytes,
            files=whole.files,
            unseen=whole.unseen if every else None,
            removed=whole.removed,
            largest=whole.largest[1],
            images=len(names),
            users=sum(self.tallies[layer].uses for layer in layers),
            used_by=tuple(names[:NAMES]),
            made_by=self._makers.made_by(layers[0], self._asked[places[0].hider[0]]),
            hidden_by=self._makers.of(first)[position],
        )


def _bytes(places: list[HiddenPlace]) -> int:
    return sum(place.bytes for place in places)
