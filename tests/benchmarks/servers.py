"""The servers of `serve.py`: regfs, docker-registry and nginx as processes over the same files."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from tests.processes import RegistryProcess

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


def processes_of(server: RegistryProcess) -> list[int]:
    """Return the ids of a server's process and of its children."""
    found = [server.pid]
    for number in found:
        children = Path(f"/proc/{number}/task/{number}/children")
        found.extend(map(int, children.read_text().split()))
    return found


def forget_peak(server: RegistryProcess) -> None:
    """Let the kernel count the peak of its memory anew."""
    for number in processes_of(server):
        Path(f"/proc/{number}/clear_refs").write_text("5")


def peak(server: RegistryProcess) -> int:
    """Return the bytes of memory it had at the most, each of its processes by itself."""
    total = 0
    for number in processes_of(server):
        for line in Path(f"/proc/{number}/status").read_text().splitlines():
            if line.startswith("VmHWM:"):
                total += int(line.split()[1]) * 1024
    return total
