"""The servers of `serve.py`: regfs, docker-registry and nginx as processes over the same files."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path

from tests.support.processes import RegistryProcess

CONFIG = """
daemon off;
worker_processes auto;
user root;
pid {folder}/pid;
error_log {folder}/errors;
events {{ worker_connections 4096; }}
http {{
  access_log off;
  sendfile on;
  tcp_nopush on;
  keepalive_requests 1000000;
  server {{
    listen 127.0.0.1:{port} backlog=4096;
    location = /v2/ {{ return 200 "{{}}"; }}
{files}
  }}
}}
"""


class Nginx(RegistryProcess):
    """nginx that gives a few files at the paths a registry has them at."""

    program = "nginx"

    def __init__(self, root: Path, files: Mapping[str, Path]) -> None:
        super().__init__(root)
        self._files = files

    def command(self, port: int) -> list[str | Path]:
        """Return what serves the files at a port of 127.0.0.1."""
        places = "\n".join(
            f"    location = {path} {{ alias {file}; }}" for path, file in self._files.items()
        )
        config = self.folder / "nginx.conf"
        config.write_text(CONFIG.format(folder=self.folder, port=port, files=places))
        return ["nginx", "-e", self.folder / "errors", "-c", config]


def processes_of(server: RegistryProcess) -> list[Path]:
    """Return the folders of a server's process and of its children below /proc."""
    parent = [str(server.pid)]
    children = (each for each in Path("/proc").glob("[0-9]*") if _fields(each)[1:2] == parent)
    return [Path(f"/proc/{server.pid}"), *children]


def _fields(folder: Path) -> list[str]:
    """Return what the kernel says of a process, from its state on; nothing once it has ended."""
    try:
        return (folder / "stat").read_text().rpartition(")")[2].split()
    except OSError:
        return []


def processor_time(server: RegistryProcess) -> float:
    """Return the seconds of processor time a server has taken so far, the kernel's included."""
    ticks = sum(int(tick) for each in processes_of(server) for tick in _fields(each)[11:13])
    return ticks / os.sysconf("SC_CLK_TCK")


def forget_peak(server: RegistryProcess) -> None:
    """Let the kernel count the peak of its memory anew."""
    for folder in processes_of(server):
        (folder / "clear_refs").write_text("5")


def peak(server: RegistryProcess) -> int:
    """Return the bytes of memory it had at the most, each of its processes by itself."""
    total = 0
    for folder in processes_of(server):
        for line in (folder / "status").read_text().splitlines():
            if line.startswith("VmHWM:"):
                total += int(line.split()[1]) * 1024
    return total
