"""Certificates made by openssl."""

from __future__ import annotations

import subprocess
from pathlib import Path
from typing import NamedTuple


class Pair(NamedTuple):
    """A certificate of localhost, and its key."""

    certificate: str
    key: str


def made(folder: Path, name: str, *options: str) -> Pair:
    pair = Pair(str(folder / f"{name}.crt"), str(folder / f"{name}.key"))
    command = ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256"]
    subject = ["-days", "2", "-subj", "/CN=localhost", "-addext"]
    names = ["subjectAltName=DNS:localhost,IP:127.0.0.1", *(options or ["-nodes"])]
    files = ["-keyout", pair.key, "-out", pair.certificate]
    subprocess.run([*command, *subject, *names, *files], check=True, capture_output=True)
    return pair
