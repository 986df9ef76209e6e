"""What the single file runs: `regfs`, or one of its processes.

The file is put together by regfs.spec and build beside this. Three things differ from an
installed regfs:

- `sys.executable` is the file itself. `verify` starts processes by it, as it would start Python;
  such a call is answered by what the process is to do. No other code is ever taken.
- The file's libraries are found by LD_LIBRARY_PATH. A program that regfs runs (docker, less, man)
  belongs to the machine, and gets the variable as it was before.
- Where the machine has no certificates of authorities, those that came with the file are used.
"""

from __future__ import annotations

import os
import sys

_PROCESS = ["-I", "-S", "-c"]
"""What Python is given by `regfs.verify.workers`, before the code."""
_AUTHORITIES = ("/etc/ssl/certs", "/etc/ssl/cert.pem", "/etc/pki/tls/certs")
_OWN_AUTHORITIES = "certifi/cacert.pem"


def main() -> None:
    """Run a process of `verify`, or else the command line."""
    before = os.environ.pop("LD_LIBRARY_PATH_ORIG", None)
    os.environ.pop("LD_LIBRARY_PATH", None)
    if before is not None:
        os.environ["LD_LIBRARY_PATH"] = before
    if not any(map(os.path.exists, _AUTHORITIES)) and not os.environ.get("SSL_CERT_DIR"):
        os.environ.setdefault("SSL_CERT_FILE", f"{sys._MEIPASS}/{_OWN_AUTHORITIES}")
    if sys.argv[1:4] == _PROCESS:
        from regfs.content.hashing import serve

        serve()
    else:
        from regfs.cli import main as run

        run()


main()
