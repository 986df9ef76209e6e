"""What made each layer of an image, by its history: instructions as in a Dockerfile. Pure.

    instructions(['/bin/sh -c #(nop) COPY file:... in /a ' (empty), 'CMD ["sh"]'])
        -> ['COPY file:... in /a; CMD ["sh"]']                     one for each layer

buildah and podman put several steps into one layer, say of all but the last that they left
none, and give the layer to the last one.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from typing import Final

_WRITES: Final = frozenset({"COPY", "ADD", "RUN"})
_WRITES_NOTHING: Final = frozenset(
    {
        *("ARG", "CMD", "ENTRYPOINT", "ENV", "EXPOSE", "HEALTHCHECK", "LABEL", "MAINTAINER"),
        *("ONBUILD", "SHELL", "STOPSIGNAL", "USER", "VOLUME"),
    }
)
_NOP = re.compile(r"/bin/sh -c #\(nop\)\s*")
_RUN = re.compile(r"(?:RUN )?((?:\|\d+ .*?)?)/bin/sh -c ", re.DOTALL)


def instruction(created_by: str) -> str:
    """Return the Dockerfile instruction of a step in a history.

    Docker's old builder wrote `/bin/sh -c #(nop)  CMD ["sh"]`, BuildKit writes
    `RUN /bin/sh -c make # buildkit`.
    """
    text = created_by.removesuffix(" # buildkit").strip()
    if found := _NOP.match(text):
        return text[found.end() :]
    if found := _RUN.match(text):
        return f"RUN {text[found.end() :]}"
    return text


def keyword(text: str) -> str:
    """Return the first word of an instruction: COPY, RUN."""
    return text.partition(" ")[0]


def folded_from(before: Sequence[str], last: str) -> int:
    """Return from which instruction on those without a layer share that of `last`.

    COPY and ADD always write something, and a step that cannot write has no layer of its own.
    A RUN may have written nothing.
    """
    words = [keyword(one) for one in before]
    writes = [number for number, word in enumerate(words) if word in _WRITES]
    proof = not {"COPY", "ADD"}.isdisjoint(words) or keyword(last) in _WRITES_NOTHING
    return writes[0] if writes and proof else len(before)


def instructions(history: Iterable[tuple[str, bool]]) -> list[str]:
    """Return what made each layer: from each step's command, and whether it left no layer."""
    made = []
    before: list[str] = []
    for created_by, empty in history:
        text = instruction(created_by)
        if empty:
            before.append(text)
            continue
        made.append("; ".join([*before[folded_from(before, text) :], text]))
        before = []
    return made
