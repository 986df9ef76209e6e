"""Registries in buckets: regfs, docker-registry and bare loops ask one server, in one run.

    python -m tests.benchmarks.buckets rgw
    python -m tests.benchmarks.buckets seaweedfs --blobs 2000 --manifests 400     # does it run?

nginx stands before the server and counts: all sides ask through it. Each side is a process of its
own, run three times in turns; printed are the medians, of the processor too, which a busy machine
changes less. Needs nginx and docker-registry, and the programs of the object store.
"""

from __future__ import annotations

import argparse
import compileall
import hashlib
import json
import os
import re
import resource
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, NamedTuple

import regfs
from tests.benchmarks.treemaker import Shape, make_tree
from tests.support.bucket_registry import BucketRegistry
from tests.support.object_stores import rgw, seaweedfs
from tests.support.processes import RegistryProcess
from tests.support.real_buckets import Server, bucket_on

_NGINX = """
daemon off;
worker_processes 1;
user root;
pid {folder}/pid;
error_log {folder}/errors;
events {{ worker_connections 4096; }}
http {{
  log_format asked '$request_method $request_uri';
  access_log {folder}/asked asked;
  client_max_body_size 0;
  upstream store {{ server {store}; keepalive 64; }}
  server {{
    listen 127.0.0.1:{port} backlog=4096;
    keepalive_requests 1000000;
    location = /v2/ {{ access_log off; return 200 "{{}}"; }}
    location / {{
      proxy_pass http://store;
      proxy_http_version 1.1;
      proxy_set_header Host $http_host;
      proxy_set_header Connection "";
      proxy_request_buffering off;
      proxy_buffering off;
    }}
  }}
}}
"""
_THREADS = 16
_AT_ONCE = 32


class CountingProxy(RegistryProcess):
    """nginx before an object store; it writes a line for each request."""

    program = "nginx"

    def __init__(self, url: str) -> None:
        super().__init__(Path())
        self._store = url.removeprefix("http://")

    def command(self, port: int) -> list[str | Path]:
        """Return what passes on what comes to a port of 127.0.0.1."""
        config = self.folder / "nginx.conf"
        config.write_text(_NGINX.format(folder=self.folder, port=port, store=self._store))
        return ["nginx", "-e", self.folder / "errors", "-c", config]

    def counted(self) -> Counter[str]:
        """Return the requests since the last answer, by kind."""
        file = self.folder / "asked"
        lines = file.read_text(errors="replace").splitlines() if file.exists() else []
        file.write_bytes(b"")
        return Counter(map(_kind, lines))


class Run(NamedTuple):
    """One run of one side."""

    seconds: float
    processor: float
    """Seconds of the processor, of this side alone."""
    requests: Counter[str]


def _kind(line: str) -> str:
    method, _, address = line.partition(" ")
    if method == "GET":
        return "list" if re.search(r"[?&](list-type|prefix|uploads|versions)=?", address) else "get"
    return method.lower()


# -- bare loops -----------------------------------------------------------------------------------


def _bare(what: str, root: str) -> None:
    """List a tree, or read and hash its blobs, and conclude nothing."""
    import obstore
    from obstore.store import S3Store

    name, _, prefix = root.removeprefix("s3://").partition("/")
    store = S3Store(name, client_options={"allow_http": True})
    v2 = f"{prefix}/docker/registry/v2"
    folders = [f"{v2}/blobs/sha256/{number:02x}" for number in range(256)]
    found = obstore.list_with_delimiter(store, f"{v2}/repositories")
    folders += found["common_prefixes"]

    def listed(folder: str) -> list[str]:
        pages = obstore.list(store, folder, chunk_size=1000)
        return [row["path"] for page in pages for row in page if row["size"] >= 0 and row["e_tag"]]

    def hashed(key: str) -> str:
        digest = hashlib.sha256()
        for piece in obstore.get(store, key).stream(min_chunk_size=256 << 10):
            digest.update(piece)
        return digest.hexdigest()

    with ThreadPoolExecutor(_THREADS) as pool:
        keys = [key for some in pool.map(listed, folders) for key in some]
    if what == "hash":
        blobs = [key for key in keys if key.endswith("/data") and "/blobs/" in key]
        with ThreadPoolExecutor(_AT_ONCE) as pool:
            wrong = [
                key for key, found in zip(blobs, pool.map(hashed, blobs), strict=True)
                if key.split("/")[-2] != found
            ]  # fmt: skip
        if wrong:
            raise SystemExit(f"{wrong[0]}: not its digest")


# -- one run --------------------------------------------------------------------------------------


def measure(
    proxy: CountingProxy, sides: dict[str, list[str]], count: int, before: Callable[[str], None]
) -> dict[str, Run]:
    """Run each side `count` times, in turns; return the medians, and what the last run asked."""
    taken: dict[str, list[tuple[float, float]]] = {name: [] for name in sides}
    asked: dict[str, Counter[str]] = {}
    for _ in range(count):
        for name, command in sides.items():
            before(name)
            proxy.counted()
            start, spent = time.perf_counter(), _spent()
            done = subprocess.run(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)
            taken[name].append((time.perf_counter() - start, _spent() - spent))
            if done.returncode:
                raise SystemExit(f"{name}: exit {done.returncode}: {done.stderr[-1000:]!r}")
            time.sleep(0.2)  # nginx writes its lines a moment later
            asked[name] = proxy.counted()
    found = {}
    for name, pairs in taken.items():
        seconds, processor = map(statistics.median, zip(*pairs, strict=True))
        found[name] = Run(seconds, processor, asked[name])
    return found


def _spent() -> float:
    """Return the seconds of the processor that the children have taken which have ended."""
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def _sides(root: str, cache: Path, registry: Path) -> dict[str, list[str]]:
    regfs = [str(Path(sys.executable).with_name("regfs")), "-r", root, "--cache", str(cache)]
    bare = [sys.executable, "-m", "tests.benchmarks.buckets", "--bare"]
    scan = "import sys, regfs; regfs.open(sys.argv[1]).inventory"
    return {
        "gc plan, cold": [*regfs, "gc", "plan", "--offline", "--json"],
        "gc plan, warm": [*regfs, "gc", "plan", "--offline", "--json"],
        "garbage-collect": ["docker-registry", "garbage-collect", "--dry-run", str(registry)],
        "scan": [sys.executable, "-c", scan, root],
        "bare listing": [*bare, "list", root],
        "verify, links": [*regfs, "verify", "--level", "links", "--no-ledger"],
        "verify": [*regfs, "verify", "--no-ledger"],
        "bare reads": [*bare, "hash", root],
    }


_ASKED = (
    ("gc plan, cold", "garbage-collect"),
    ("gc plan, warm", "gc plan, cold"),
    ("gc plan, warm", "garbage-collect"),
    ("scan", "bare listing"),
    ("verify", "bare reads"),
)


def _push(registry: BucketRegistry, folder: Path) -> None:
    """Push five small images by skopeo."""
    source = Path(__file__).parents[2] / "fixtures/trees/tutorial"
    from tests.support.served import serving

    with serving(source) as (_, url):
        for number in range(5):
            subprocess.run(
                ["skopeo", "copy", "-q", "--src-tls-verify=false", "--dest-tls-verify=false",
                 f"docker://{url.removeprefix('http://')}/my-busybox-extended:latest",
                 f"docker://{registry.address}/pushed:v{number}"], check=True, cwd=folder,
            )  # fmt: skip


def run(kind: str, blobs: int, manifests: int, count: int) -> dict[str, Run]:
    """Make the bucket and measure everything."""
    # As pip does when it installs regfs: a checkout may be compiled anew by each process.
    compileall.compile_dir(Path(regfs.__file__).parent, quiet=1)
    folder = Path(tempfile.mkdtemp(prefix="buckets-"))
    (folder / "store").mkdir()
    shape = Shape(blobs=blobs, manifests=manifests, repositories=50)
    make_tree(str(folder / "tree"), shape, 2)
    start: Any = {"rgw": rgw, "seaweedfs": seaweedfs}[kind]
    try:
        with start(folder / "store") as direct, CountingProxy(direct) as proxy:
            server = Server(kind, f"http://{proxy.address}")
            with bucket_on(server, folder / "tree", "pfx") as root:
                with BucketRegistry(server, root) as registry:
                    _push(registry, folder)
                    config = shutil.copy(registry.folder / "config.yml", folder / "config.yml")
                cache = folder / "cache"

                def before(name: str) -> None:
                    if name == "gc plan, cold":
                        shutil.rmtree(cache, ignore_errors=True)

                return measure(proxy, _sides(root, cache, Path(config)), count, before)
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def main() -> int:
    """Print the figures of one kind of server."""
    parser = argparse.ArgumentParser(prog="buckets", description=__doc__)
    parser.add_argument("kind", nargs="?", choices=("rgw", "seaweedfs"))
    parser.add_argument("--blobs", type=int, default=10_000)
    parser.add_argument("--manifests", type=int, default=2_000)
    parser.add_argument("--count", type=int, default=3)
    parser.add_argument("--bare", nargs=2, metavar=("WHAT", "ROOT"))
    options = parser.parse_args()
    if options.bare:
        _bare(*options.bare)
        return 0
    os.environ.pop("AWS_CA_BUNDLE", None)
    found = run(options.kind or "rgw", options.blobs, options.manifests, options.count)
    for name, one in found.items():
        asked = ", ".join(f"{count:,} {kind}" for kind, count in sorted(one.requests.items()))
        print(f"{name:<16} {one.seconds:7.2f} s {one.processor:7.2f} s of CPU   {asked}")
    for ours, other in _ASKED:
        ratio = found[ours].seconds / found[other].seconds
        print(f"{ours} by {other}: {ratio:.2f}, {1 / ratio:.2f} x faster")
    print(json.dumps({name: one.seconds for name, one in found.items()}))
    return 0


if __name__ == "__main__":
    sys.exit(main())
