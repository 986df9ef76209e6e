"""The command line: options, one library call, rendering, exit code.

`main` is the console script. `regfs --version` is answered before anything is
imported: it is what scripts call to see whether regfs is there.
"""

from __future__ import annotations

import sys


def main() -> None:
    """Run the command line and exit with its code."""
    if sys.argv[1:] == ["--version"]:
        from regfs import __version__

        sys.stdout.write(f"regfs {__version__}\n")
        return
    from regfs.cli.app import run

    sys.exit(run(sys.argv[1:]))
