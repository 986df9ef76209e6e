"""The command line: options, one library call, rendering, exit code.

`main` is the console script. `regfs --version` is answered before anything is
imported: it is what scripts call to see whether regfs is there.
"""

from __future__ import annotations

import sys


def main() -> None:
    """Run the command line and exit with its code."""
    try:
        if sys.argv[1:] == ["--version"]:
            code = _print_version()
        else:
            import gc

            from regfs.cli.app import run

            # A command makes millions of objects without a cycle among them, which Python's
            # collector would walk again and again.
            gc.set_threshold(1_000_000)
            code = run(sys.argv[1:])
            _leave(code)
    except KeyboardInterrupt:  # while Python was still importing
        code = 130
    sys.exit(code)


def _leave(code: int) -> None:
    """Exit at once: tearing down millions of objects takes long.

    Return while another thread is running: Python has to wait for it.
    """
    import os
    import threading
    from contextlib import suppress

    if threading.active_count() == 1:
        for stream in (sys.stdout, sys.stderr):
            if stream is not None:  # it was closed before we started
                with suppress(OSError, ValueError):  # its reader has left
                    stream.flush()
        os._exit(code)


def _print_version() -> int:
    import os

    from regfs import __version__

    try:
        # Not sys.stdout: it would try once more at the end of what could not be written.
        os.write(1, f"regfs {__version__}\n".encode())
    except OSError as error:
        return 0 if isinstance(error, BrokenPipeError) else 5
    return 0
