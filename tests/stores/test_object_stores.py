"""The S3 of the tests answers as real servers do: what is proved on it holds of them."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any
from xml.etree import ElementTree

import pytest
import requests

from tests.support.buckets import NAME, bucket_of
from tests.support.real_buckets import Server, bucket_on, kinds, signer

PART = b"p" * (5 << 20)
ENABLED, SUSPENDED = (
    f"<VersioningConfiguration><Status>{state}</Status></VersioningConfiguration>"
    for state in ("Enabled", "Suspended")
)
DIALECTS: dict[str, dict[str, bool]] = {
    "rgw": {"conditional_delete": False, "conditional_source": False},
    "seaweedfs": {},
}
"""How the bucket of the tests is set to be like a server."""
Answer = tuple[Any, ...]


def md5(data: bytes) -> str:
    return hashlib.md5(data, usedforsecurity=False).hexdigest()


@dataclass
class Asker:
    """Asks one server, and keeps of each answer what all servers must say alike."""

    url: str
    answers: list[Answer] = field(default_factory=list)
    names: dict[str, str] = field(default_factory=dict)
    """Version or upload -> the name by which it is told here: they differ."""
    saved: dict[str, str] = field(default_factory=dict)

    def __call__(
        self, method: str, key: str = "", body: bytes | str = b"", **headers: str
    ) -> requests.Response:
        named = {name.replace("_", "-"): text for name, text in headers.items()}
        address = f"{self.url}/{key}" if key else self.url
        answer = requests.request(
            method, address, data=body, headers=named, auth=signer(), timeout=30
        )
        self.answers.append((method, re.sub(r"(?<=[dD]=).*", "..", key), *self._told(answer)))
        return answer

    def save(self, name: str, pattern: str, answer: requests.Response) -> str:
        """Keep and return a name that the server made up."""
        text = answer.headers.get(pattern) or re.findall(f"<{pattern}>(.*?)<", answer.text)[0]
        self.names[text] = name
        return str(text)

    def _told(self, answer: requests.Response) -> Answer:
        if answer.request.method == "HEAD" or not answer.content:
            return answer.status_code, self._headers(answer)
        if not answer.content.startswith(b"<"):
            return answer.status_code, self._headers(answer), answer.content[:20]
        return answer.status_code, self._headers(answer), sorted(self._rows(answer.content))

    def _headers(self, answer: requests.Response) -> Answer:
        """Return the ETag of what is read; of one made of parts, how many they are."""
        if answer.request.method not in ("GET", "HEAD"):
            return ()
        whole, _, parts = answer.headers.get("ETag", "").strip('"').partition("-")
        return (parts or whole,)

    def _rows(self, body: bytes) -> Iterator[Answer]:
        """Yield what a document says of keys, parts, versions, uploads and failures."""
        told = {"Key", "Size", "IsLatest", "PartNumber", "Code", "Prefix"}
        rows = {"Contents", "CommonPrefixes", "Version", "DeleteMarker", "Upload", "Part",
                "Deleted", "Error"}  # fmt: skip
        root = ElementTree.fromstring(body)
        for element in [root, *root]:
            kind = element.tag.rpartition("}")[2]
            if kind in rows:
                values = {one.tag.rpartition("}")[2]: one.text for one in element}
                version = self.names.get(values.get("VersionId") or "")
                told_here = {name: text for name, text in values.items() if name in told}
                if kind in ("Error", "Deleted"):
                    version = None
                if kind == "Error" and element is root:
                    told_here.pop("Key", None)
                yield kind, str(version), str(sorted(told_here.items()))


@contextmanager
def asking(server: Server) -> Iterator[tuple[Asker, Asker]]:
    """Ask the server of the tests, and a real one."""
    with bucket_of() as bucket, bucket_on(server) as root:
        for name, value in DIALECTS[server.kind].items():
            assert hasattr(bucket, name)
            setattr(bucket, name, value)
        name = root.removeprefix("s3://")
        yield Asker(f"{bucket.url}/{NAME}"), Asker(f"{server.url}/{name}")


def plain(ask: Asker) -> None:
    """Write, read, list and delete."""
    ask("GET", "a/b")
    ask("HEAD", "a/b")
    ask("PUT", "a/b", b"one")
    ask("GET", "a/b")
    ask("GET", "a/b", Range="bytes=1-")
    ask("GET", "a/b", Range="bytes=9-")
    ask("PUT", "a/b", b"two", If_None_Match="*")
    ask("PUT", "a/c", b"new", If_None_Match="*")
    for key in ("a/d/e", "f"):
        ask("PUT", key, key.encode())
    ask("GET", "?list-type=2&start-after=a/c")
    for key in ("a!", "a0"):  # between "a" and "a/b" in the order of names, or of bytes
        ask("PUT", key, key.encode())
    ask("GET", "?list-type=2")
    ask("GET", "?list-type=2&prefix=a/&delimiter=/")
    ask("GET", "?list-type=2&prefix=a/&max-keys=1")
    ask("DELETE", "f")
    ask("DELETE", "f")
    ask("POST", "?delete", *deleting("a/d/e", "a/zzz"))
    ask("GET", "?list-type=2")
    ask("GET", "a/b", If_Match='"0"')


def deleting(*keys: str, versions: Mapping[str, str] | None = None) -> tuple[str]:
    """Return the body of a bulk delete."""
    rows = [f"<Object><Key>{key}</Key></Object>" for key in keys]
    for version, key in (versions or {}).items():
        rows.append(f"<Object><Key>{key}</Key><VersionId>{version}</VersionId></Object>")
    return (f"<Delete>{''.join(rows)}</Delete>",)


def copies(ask: Asker) -> None:
    """Copy, on conditions."""
    source = "/" + ask.url.rpartition("/")[2] + "/"
    ask("PUT", "a", b"one")
    ask("PUT", "b", x_amz_copy_source=source + "a")
    ask("GET", "b")
    ask("PUT", "c", x_amz_copy_source=source + "none")
    right, wrong = f'"{md5(b"one")}"', f'"{md5(b"two")}"'
    match = "x_amz_copy_source_if_match"
    ask("PUT", "c", **{"x_amz_copy_source": source + "a", match: wrong})
    ask("PUT", "c", **{"x_amz_copy_source": source + "a", match: right})
    ask("GET", "c")


def conditions(ask: Asker) -> None:
    """Delete on conditions."""
    for text in ("one", "two"):
        ask("PUT", "a", text)
        ask("DELETE", "a", If_Match=f'"{md5(b"one")}"')
        ask("GET", "a")


def multipart(ask: Asker) -> None:
    """Upload in parts; list, copy into, complete, abort."""
    source = "/" + ask.url.rpartition("/")[2] + "/"
    upload = ask.save("upload", "UploadId", ask("POST", "m?uploads="))
    other = ask.save("other", "UploadId", ask("POST", "n?uploads="))
    ask("GET", "?uploads=")
    ask("GET", "?uploads=&prefix=n")
    tags = [ask("PUT", f"m?partNumber=1&uploadId={upload}", PART).headers["ETag"].strip('"')]
    ask("PUT", "src", b"0123456789")
    part = f"m?partNumber=2&uploadId={upload}"
    copied = "x_amz_copy_source"
    answer = ask("PUT", part, **{copied: source + "src", "x_amz_copy_source_range": "bytes=2-5"})
    tags += re.findall(r"\b[0-9a-f]{32}\b", answer.text)
    ask("GET", f"m?uploadId={upload}")
    ask("GET", "m")
    rows = "".join(
        f"<Part><PartNumber>{number}</PartNumber><ETag>&quot;{tag}&quot;</ETag></Part>"
        for number, tag in enumerate(tags, 1)
    )
    body = f"<CompleteMultipartUpload>{rows}</CompleteMultipartUpload>"
    ask("POST", f"m?uploadId={upload}", body)
    ask("HEAD", "m")
    ask("GET", "?list-type=2&prefix=m")
    ask("DELETE", f"n?uploadId={other}")
    ask("GET", "?uploads=")
    ask("PUT", "m2", x_amz_copy_source=source + "m")
    ask("GET", "?list-type=2&prefix=m")


def versions(ask: Asker) -> None:
    """Overwrite and delete with versions, delete markers and versions for good."""
    ask("PUT", "v", b"null")
    ask("GET", "?versioning=")
    ask("PUT", "?versioning=", ENABLED)
    ask("GET", "?versioning=")
    first = ask.save("first", "x-amz-version-id", ask("PUT", "v", b"first"))
    ask.names["null"] = "null"
    marker = ask.save("marker", "x-amz-version-id", ask("DELETE", "v"))
    ask("GET", "v")
    ask("GET", "?list-type=2")
    ask("GET", "?versions=")
    ask("GET", f"v?versionId={first}")
    ask("DELETE", f"v?versionId={marker}")
    ask("GET", "v")
    ask("DELETE", f"v?versionId={first}")
    ask("GET", "v")
    ask("GET", "?versions=")
    again = ask.save("again", "x-amz-version-id", ask("DELETE", "v"))
    ask("POST", "?delete", *deleting(versions={again: "v"}))
    ask("GET", "v")
    ask("PUT", "?versioning=", SUSPENDED)
    ask("PUT", "v", b"null again")
    ask("GET", "?versions=")
    ask("DELETE", "v")
    ask("GET", "?versions=")


@pytest.mark.parametrize("scenario", [plain, copies, conditions, multipart, versions])
@pytest.mark.parametrize("kind", kinds("rgw", "seaweedfs"))
def test_it_answers_as_a_real_server(
    kind: str, scenario: Callable[[Asker], None], object_store: Callable[[str], Server]
) -> None:
    with asking(object_store(kind)) as askers:
        for one in askers:
            scenario(one)
    here, there = askers
    assert len(here.answers) == len(there.answers)
    for ours, theirs in zip(here.answers, there.answers, strict=True):
        assert ours == theirs
