"""`regfs gc plan --subset` and `--merge`: manifests read on several machines, planned on one."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import ExitStack, closing, contextmanager
from typing import TYPE_CHECKING, Final

import click
from click.core import ParameterSource

from regfs.cli.common import COMMON
from regfs.cli.options import Decorator, Subset, option_group
from regfs.cli.session import Exit, Session

if TYPE_CHECKING:
    from regfs.content.manifest_parts import MergedParts
    from regfs.verify.schedule import Shard

parts_options: Final[Decorator] = option_group(
    click.argument("files", metavar="[FILE]...", nargs=-1),
    click.option(
        "--subset",
        metavar="n/t",
        type=Subset(),
        help="Plan nothing: read the n-th of t shares of the manifests, and write them to -o.",
    ),
    click.option(
        "--merge",
        is_flag=True,
        help="Take manifests from the files that --subset wrote; read only what is in none.",
    ),
)


def check(files: Sequence[str], subset: object, output: str | None, *, merge: bool) -> Shard | None:
    """Check that options fit; return the share to read, if it is only that.

    Raises:
        UsageError: they do not.
    """
    if merge != bool(files):
        raise click.UsageError("--merge and the files to merge belong together: --merge FILE...")
    if subset is None:
        return None
    from regfs.verify.schedule import Shard  # a plan does without

    if not isinstance(subset, Shard):
        raise click.UsageError("--subset of a plan is n/t: the n-th of t shares")
    if output is None:
        raise click.UsageError("--subset needs -o FILE: where the manifests are written")
    ctx = click.get_current_context()
    others = [
        max(option.opts, key=len)
        for option in ctx.command.params
        if isinstance(option, click.Option)
        and option.name not in COMMON | {"subset", "output"}
        and ctx.get_parameter_source(str(option.name)) is ParameterSource.COMMANDLINE
    ]
    if others:
        raise click.UsageError(f"--subset plans nothing: it takes no {', '.join(others)}")
    return subset


def read_share(session: Session, share: Shard, output: str) -> Exit:
    """Read one share of the manifests, and write them to a file."""
    from regfs.render.tables import plural
    from regfs.units import human_size

    done = session.tree.read_share(share.number, share.total, output)
    session.emit(
        done,
        lambda out: out.print(
            f"{output}: {plural(done.manifests, 'manifest')}, {human_size(done.bytes)}, "
            f"share {done.subset}"
        ),
        Exit.CLEAN,
    )
    if done.lacking:
        session.note(
            f"{plural(done.lacking, 'manifest')} of the share cannot be had; "
            "gc plan --merge says which"
        )
    return Exit.CLEAN


@contextmanager
def merged(session: Session, files: Sequence[str]) -> Iterator[MergedParts | None]:
    """Open files of manifests for the block; say what was wrong with them in the end."""
    if not files:
        yield None
        return
    from regfs.content.manifest_parts import ManifestPart, MergedParts
    from regfs.render.tables import plural

    with ExitStack() as stack:
        parts = [stack.enter_context(closing(ManifestPart.open(file))) for file in files]
        found = MergedParts(parts, session.registry.kept)
        yield found
        for part in parts:
            if part.problem is not None:
                session.complain(f"{part.path}: {part.problem}; what it lacks was read anew")
        if found.lacking:
            were = "was" if found.lacking == 1 else "were"
            what = plural(found.lacking, "manifest")
            session.note(f"{what} {were} in none of the files, and {were} read here")
