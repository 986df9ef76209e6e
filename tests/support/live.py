"""People at work on a live registry: pushers, mounters, re-taggers and deleters in loops.

    with ReferenceRegistry(root) as registry:
        crowd = Crowd(registry, seconds=20)
        with crowd:                       # they work while the block runs
            collect_again_and_again()
    crowd.acknowledged                    # (repository, tag) -> what the registry has said yes to

What a registry has answered 201 to is acknowledged, and must be there for good until
somebody deletes it; what it refused (a collection took a blob away under a push) is
a push that failed, as pushes may. Every worker has images of its own and shares
layers with all others, so that what one gives up is what another takes up.
"""

from __future__ import annotations

import random
import subprocess
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Self
from urllib.parse import quote

from tests.support.images import Blob, Content, blob_of, image, index
from tests.support.reference import ReferenceRegistry, copy, make_oci_layout

REPOSITORIES = ("app", "app/web", "team/x")
WORDS = [f"shared layer {number}" for number in range(8)]


class Refused(Exception):
    """The registry did not take it."""


class Client:
    """What a client of a registry does, request by request, giving up at the first refusal."""

    def __init__(self, registry: ReferenceRegistry) -> None:
        self._registry = registry

    def ask(self, status: int, method: str, url: str, body: bytes = b"", kind: str = "") -> str:
        """Send a request; return the Location of the answer.

        Raises:
            Refused: another status than `status`, or no answer at all.
        """
        headers = {"Content-Type": kind} if kind else {}
        try:
            answer = self._registry.request(method, url, body, headers)
        except OSError as error:
            raise Refused(f"{method} {url}: {error}") from error
        if answer.status != status:
            raise Refused(f"{method} {url}: {answer.status}")
        return str(answer.headers.get("Location", ""))

    def has(self, name: str, blob: Blob) -> bool:
        with suppress(Refused):
            self.ask(200, "HEAD", f"/v2/{name}/blobs/{blob.digest}")
            return True
        return False

    def upload(self, name: str, blob: Blob) -> None:
        location = self.ask(202, "POST", f"/v2/{name}/blobs/uploads/")
        location = self.ask(202, "PATCH", location, blob.data, "application/octet-stream")
        separator = "&" if "?" in location else "?"
        self.ask(201, "PUT", f"{location}{separator}digest={quote(blob.digest)}")

    def mount(self, source: str, target: str, blob: Blob) -> None:
        url = f"/v2/{target}/blobs/uploads/?mount={quote(blob.digest)}&from={quote(source)}"
        self.ask(201, "POST", url)

    def put(self, name: str, reference: str, content: Content) -> None:
        url = f"/v2/{name}/manifests/{reference}"
        self.ask(201, "PUT", url, content.data, content.media_type)

    def delete(self, name: str, digest: str) -> None:
        self.ask(202, "DELETE", f"/v2/{name}/manifests/{digest}")

    def push(self, name: str, tag: str, content: Content, pause: Callable[[], None]) -> None:
        """Push as clients do: what the registry says it has is not sent again."""
        for child in content.children:
            self.push(name, child.digest, child, pause)
        for blob in content.blobs:
            if not self.has(name, blob):
                self.upload(name, blob)
            pause()
        self.put(name, tag, content)


class Crowd:
    """Workers on one registry."""

    def __init__(self, registry: ReferenceRegistry, folder: Path, *, seed: int) -> None:
        self.registry = registry
        self.acknowledged: dict[tuple[str, str], Content] = {}
        self.tried: Counter[str] = Counter()
        self.refused: Counter[str] = Counter()
        self.errors: list[BaseException] = []
        self._folder = folder
        self._seed = seed
        self._stop = threading.Event()
        self._lock = threading.Lock()
        self._threads = [
            threading.Thread(target=self._work, args=(job, number))
            for number, job in enumerate(
                [self._push, self._push, self._retag, self._mount, self._skopeo, self._skopeo]
            )
        ]

    def __enter__(self) -> Self:
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        for thread in self._threads:
            thread.join()

    def _work(self, job: Callable[[random.Random, int, int], None], number: int) -> None:
        chance = random.Random(f"{self._seed} {number}")
        turn = 0
        while not self._stop.is_set():
            turn += 1
            self.tried[job.__name__] += 1
            try:
                job(chance, number, turn)
            except Refused:
                self.refused[job.__name__] += 1
            except BaseException as error:
                self.errors.append(error)
                return

    def _acknowledge(self, name: str, tag: str, content: Content) -> None:
        with self._lock:
            self.acknowledged[name, tag] = content

    def _forget(self, name: str, digest: str) -> None:
        """Expect nothing any more of what is about to be deleted."""
        with self._lock:
            for key, content in list(self.acknowledged.items()):
                if key[0] == name and content.digest == digest:
                    del self.acknowledged[key]

    def _own(self, number: int) -> list[tuple[str, str, Content]]:
        """Return what this worker has pushed and not deleted."""
        with self._lock:
            return [(*key, content) for key, content in self.acknowledged.items()
                    if key[1].startswith(f"w{number}-")]  # fmt: skip

    def _image(self, chance: random.Random, number: int, turn: int) -> Content:
        layers = chance.sample(WORDS, chance.randint(1, 3))
        made = image([*layers, f"own {number} {turn % 5}"], {"author": f"{number} {turn}"})
        if chance.random() < 0.3:
            arm = image([*layers], {"author": f"{number} {turn} arm"}, platform="linux/arm64")
            return index(made, arm)
        return made

    def _push(self, chance: random.Random, number: int, turn: int) -> None:
        """Push an image, and now and then delete one, so that its layers become garbage."""
        client, name = Client(self.registry), chance.choice(REPOSITORIES)
        content = self._image(chance, number, turn)
        tag = f"w{number}-{turn}"
        client.push(name, tag, content, lambda: time.sleep(chance.random() * 0.05))
        self._acknowledge(name, tag, content)
        self._delete_one(client, chance, number)

    def _delete_one(self, client: Client, chance: random.Random, number: int) -> None:
        own = self._own(number)
        if len(own) > 4:
            name, _, content = chance.choice(own)
            self._forget(name, content.digest)
            client.delete(name, content.digest)

    def _retag(self, chance: random.Random, number: int, turn: int) -> None:
        """Point a tag to and fro between two images, without sending a layer if it can be."""
        client, name = Client(self.registry), REPOSITORIES[turn % 3]
        content = image([WORDS[turn % 4]], {"author": f"retag {turn % 6}"})
        tag = f"w{number}-moving"
        with self._lock:
            self.acknowledged.pop((name, tag), None)  # while it moves, either may be there
        try:
            client.put(name, tag, content)
        except Refused:
            client.push(name, tag, content, lambda: None)
        self._acknowledge(name, tag, content)
        time.sleep(chance.random() * 0.1)

    def _mount(self, chance: random.Random, number: int, turn: int) -> None:
        """Mount the layers of one repository into another, and push an image of them there."""
        client = Client(self.registry)
        source, target = chance.sample(REPOSITORIES, 2)
        content = self._image(chance, number, turn)
        for child in (content, *content.children):
            for blob in child.blobs:
                try:
                    client.mount(source, target, blob)
                except Refused:
                    client.upload(target, blob)
            time.sleep(chance.random() * 0.05)
        tag = f"w{number}-{turn}"
        client.push(target, tag, content, lambda: None)
        self._acknowledge(target, tag, content)
        self._delete_one(client, chance, number)

    def _skopeo(self, chance: random.Random, number: int, turn: int) -> None:
        """Push with skopeo, which uploads in parallel and asks its own questions."""
        content, name = self._image(chance, number, turn), chance.choice(REPOSITORIES)
        tag, layout = f"w{number}-{turn}", self._folder / f"layout-{number}-{turn}"
        make_oci_layout(layout, {"it": content})
        target = self.registry.image(f"{name}:{tag}")
        options = ("--all", "--preserve-digests")
        try:
            done = copy(f"oci:{layout}:it", target, *options, check=False)
        except subprocess.TimeoutExpired as error:
            raise Refused(str(error)) from error
        if done.returncode:
            raise Refused(done.stderr)
        self._acknowledge(name, tag, content)
        self._delete_one(Client(self.registry), chance, number)


def blobs_of(content: Content) -> Iterator[str]:
    """Yield every digest that an image needs."""
    yield content.digest
    yield from (blob_of(blob).digest for blob in content.blobs)
    for child in content.children:
        yield from blobs_of(child)
