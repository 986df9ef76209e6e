"""`buildkit` for people: are the layers squashed, and what differs from the classic builder."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from regfs.render.builder import cache_words
from regfs.render.reports import say
from regfs.render.tables import plural, short
from regfs.reports.builder import BUILDKIT
from regfs.reports.buildkit import Difference
from regfs.units import human_size

if TYPE_CHECKING:
    from rich.console import Console

    from regfs.reports.buildkit import BuildKitReport, LayersOf, Twin

_WIDEST: Final = 90
"""Columns of a line of prose."""
_TWINS: Final = 3
"""Pairs of layers that are named; the rest are only counted."""


def show_buildkit(report: BuildKitReport, console: Console) -> None:
    """Print `buildkit`."""
    if report.cache is not None:
        _say(console, f"{report.reference} is a build cache of BuildKit, and no image.", "bold")
        _say(console, f"It has {cache_words(report.cache)}.")
        return
    if not report.images:
        _say(console, f"{report.reference} is no image that a container can run.")
        return
    for number, image in enumerate(report.images):
        if number:
            _say(console)
        _show_layers(image, report, console)
    if report.differences:
        _say(console)
        many = len(report.differences) != 1
        count = f"{len(report.differences)} things differ" if many else "1 thing differs"
        _say(console, f"{count} from the classic builder:", "bold")
    for number, difference in enumerate(report.differences, 1):
        title, text = _WORDS[difference](report)
        _say(console, title, lead=f"{number}. ")
        _say(console, text, lead="   ")


def _say(console: Console, text: str = "", style: str = "", *, lead: str = "") -> None:
    say(console, text, style, lead=lead, widest=_WIDEST)


def _show_layers(image: LayersOf, report: BuildKitReport, console: Console) -> None:
    built = image.built
    several = len(report.images) > 1
    name = f"{report.reference} {image.platform}" if several else report.reference
    who = f"{built.builder} {built.version}".strip()
    if built.builder == BUILDKIT:
        head = f"{name} was built by BuildKit: {built.evidence}."
    elif built.builder:
        head = f"{name} was not built by BuildKit, but by {who}: {built.evidence}."
    else:
        head = f"{name}: nothing shows that BuildKit has built it."
    _say(console, head, "bold")
    _say(console, f"Are its layers squashed? {_verdict(image)}")
    _say(console, _layers(image), lead="   ")
    if built.folded:
        be = "is" if built.folded == 1 else "are"
        it = "it" if built.folded == 1 else "each"
        text = f"{built.folded} of them {be} folded: {it} holds what several instructions wrote"
        _say(console, f"{text} (buildah without --layers).", lead="   ")
    if built.empty_layers:
        be = "is" if built.empty_layers == 1 else "are"
        text = f"{built.empty_layers} of them {be} empty: the instruction changed nothing."
        _say(console, text, lead="   ")


def _verdict(image: LayersOf) -> str:
    if image.squash in ("yes", "probably"):
        return f"{image.squash.capitalize()}: {image.squash_evidence}."
    if image.squash == "unknown":
        return "It has no history that would tell."
    return "No." if image.built.builder else "Nothing shows that they are."


def _layers(image: LayersOf) -> str:
    own = f"{plural(image.own_layers, 'layer')} ({human_size(image.own_bytes)})"
    if not image.base_layers:
        return f"It has {own}, and no base in this registry that it shares them with."
    base = f"{plural(image.base_layers, 'layer')} ({human_size(image.base_bytes)})"
    use = "uses" if image.base_users == 1 else "use"
    users = f"{plural(image.base_users, 'other image')} {use} too"
    stored = f", stored once, which {users}," if image.base_users else ""
    each = "" if image.built.folded else ", one for each instruction that writes files"
    return f"It has {base} of its base {image.base}{stored} and {own} of its own{each}."


def _index(report: BuildKitReport) -> tuple[str, str]:
    (image,) = report.images
    beside = plural(report.attestation_manifests, "attestation")
    platform = f" ({image.platform})" if image.platform else ""
    text = f"It lists the image {short(image.digest)}{platform}"
    if report.attestations:
        text += f" and {beside} of platform unknown/unknown, which no container can run"
    return "The tag points to an index, not to the image.", f"{text}. Clients pull the image alone."


def _attestation(report: BuildKitReport) -> tuple[str, str]:
    words = ", ".join(report.attestations)
    sbom = any("SBOM" in one for one in report.attestations)
    more = f", `regfs sbom {report.reference}` the SBOM" if sbom else ""
    size = human_size(report.attestation_bytes)
    return (
        f"An attestation says how it was built: {words}.",
        f"It takes {size}. `regfs show {report.reference}` prints it{more}.",
    )


def _rebuild(report: BuildKitReport) -> tuple[str, str]:
    title = "Each rebuild pushes a new index, even if the image stays the same."
    kept = "The old one stays, without a tag, until `regfs gc run -m`."
    if not report.other_indexes:
        return title, f"The attestation has the time of the build. {kept}"
    others = plural(report.other_indexes, "other index", "other indexes")
    lists = "lists" if report.other_indexes == 1 else "list"
    text = f"Here {others} {lists} the same image"
    if report.untagged_indexes:
        return title, f"{text}, {report.untagged_indexes} of them without a tag. {kept}"
    return title, f"{text}. {kept}"


def _twin(report: BuildKitReport) -> tuple[str, str]:
    named = [_pair(one) for one in report.twins[:_TWINS]]
    if len(report.twins) > _TWINS:
        named.append(f"And {len(report.twins) - _TWINS} more.")
    end = "So images of the two builders share the base, and not what stands on it."
    return "The same instruction makes another layer.", " ".join([*named, end])


def _pair(twin: Twin) -> str:
    theirs = f"{short(twin.other_digest)} in {twin.other_image} by {twin.other_builder}"
    same = ", with the same files: only the bytes of the tar differ" if twin.same_files else ""
    return f"{twin.instruction} is {short(twin.digest)} here and {theirs}{same}."


def _cache(report: BuildKitReport) -> tuple[str, str]:
    return (
        "The config holds BuildKit's build cache.",
        "It was exported with type=inline; other builds can take its layers for their own steps.",
    )


def _time(report: BuildKitReport) -> tuple[str, str]:
    made = next(one.built for one in report.images if one.built.time)
    files = "The times of the files in its layers are as they were."
    if made.rewritten:
        files = (
            f"The times of the files in {plural(made.rewritten, 'layer')} are set as well "
            "(rewrite-timestamp); those in the base are as they were."
        )
    return (
        f"All times of the build are set to {made.time} (SOURCE_DATE_EPOCH).",
        f"{files} A rebuild from the same files can have the same digest.",
    )


def _packing(report: BuildKitReport) -> tuple[str, str]:
    packings = [pair for one in report.images for pair in one.built.packings.items()]
    named = ", ".join(f"{short(layer)} as {packing}" for layer, packing in packings[:_TWINS])
    more = f" and {len(packings) - _TWINS} more" if len(packings) > _TWINS else ""
    return (
        "Layers are not packed with gzip.",
        f"{named}{more}: the same files packed in another way are another layer, which is stored "
        "beside it.",
    )


def _types(report: BuildKitReport) -> tuple[str, str]:
    return (
        "Its media types are those of OCI.",
        "The classic builder pushes Docker's. The same layers are shared all the same.",
    )


_WORDS: Final = {
    Difference.INDEX: _index,
    Difference.ATTESTATION: _attestation,
    Difference.REBUILD: _rebuild,
    Difference.TWIN: _twin,
    Difference.CACHE: _cache,
    Difference.TIME: _time,
    Difference.PACKING: _packing,
    Difference.TYPES: _types,
}
