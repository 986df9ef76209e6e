"""Steps that share a layer: what buildah and podman write, and what only looks like it."""

from __future__ import annotations

import pytest

from regfs.manifests.image_config import parse_config
from regfs.reports.history import BuildStep, LayerFacts, config_steps
from tests.support.images import dumps

NOP = "/bin/sh -c #(nop) "


def steps(*history: tuple[str, bool]) -> list[BuildStep]:
    """Return the steps of a history: what each ran, and whether it left a layer."""
    entries = [
        {"created_by": text, **({} if layer else {"empty_layer": True})} for text, layer in history
    ]
    config = parse_config(dumps({"history": entries}))
    layers = [
        LayerFacts(f"sha256:{number:064}", 1, "", present=True, elsewhere=False, images=0)
        for number, _ in enumerate(one for one in history if one[1])
    ]
    return list(config_steps(layers, [{}] * len(layers), config))


def folded(*history: tuple[str, bool]) -> list[bool]:
    return [step.folded_into is not None for step in steps(*history)]


def test_what_buildah_folds_into_the_last_step_is_told_with_its_layer() -> None:
    found = steps((NOP + "COPY file:1 in /a ", False), (NOP + 'CMD ["sh"]', True))
    assert found[0].folded_into == found[1].digest
    assert found[1].folded_into is None


@pytest.mark.parametrize(
    ("history", "wanted"),
    [
        # The base keeps its own layer, and what stands before the first COPY wrote nothing.
        (
            [("ADD base", True), ("ENV a=b", False), ("COPY a /a", False), ("COPY b /b", True)],
            [False, False, True, False],
        ),
        # CMD cannot write: the layer is that of RUN.
        ([("RUN make", False), ("CMD sh", True)], [True, False]),
        # kaniko says so of a RUN that has changed nothing.
        ([("RUN true", False), ("RUN make", True)], [False, False]),
        # What comes after the last layer left none.
        ([("RUN make", True), ("COPY a /a", False)], [False, False]),
        ([("umoci repack", True), ("umoci config", False)], [False, False]),
    ],
)
def test_only_what_must_have_written_is_folded(
    history: list[tuple[str, bool]], wanted: list[bool]
) -> None:
    assert folded(*history) == wanted
