"""The command line that comes next, with the root and the options that were given."""

from __future__ import annotations

import shlex
from collections.abc import Collection, Iterable, Iterator
from typing import TYPE_CHECKING, Any, Final

import click
from click.core import ParameterSource

from regfs.cli.options import Duration
from regfs.units import written

if TYPE_CHECKING:
    from regfs.cli.session import Session

_GIVEN: Final = (ParameterSource.COMMANDLINE, ParameterSource.PROMPT)


def spelled(
    session: Session, *words: str, options: Collection[str] = (), add: Iterable[str] = ()
) -> str:
    """Return a command line for the shell: `regfs -r ROOT WORDS OPTIONS`.

    `options` are the names of parameters of the command that is running: those that were given
    are repeated, then those in `add` follow.
    """
    root = ["-r", session.root] if session.root and session.root_is_spelled else []
    context = click.get_current_context()
    given = [
        part
        for parameter in context.command.params
        if parameter.name in options and isinstance(parameter, click.Option)
        if context.get_parameter_source(parameter.name) in _GIVEN
        for part in _option(parameter, context.params[parameter.name])
    ]
    return shlex.join(["regfs", *root, *words, *given, *(one for one in add if one not in given)])


def _option(option: click.Option, value: Any) -> Iterator[str]:
    if option.is_flag:
        yield (option.opts if value or not option.secondary_opts else option.secondary_opts)[0]
        return
    for one in value if option.multiple else [value]:
        yield option.opts[-1]
        yield written(one) if isinstance(option.type, Duration) else str(one)
