"""How an image was built, by its provenance: SLSA 0.2 and 1, as BuildKit and others write it.

    read_provenance(b'{"buildDefinition": {...}}') -> Provenance(builder=..., materials=(...), ...)

Both versions say the same in other places. Of what no version has a place for (the source
repository, the Dockerfile, whether everything was recorded), BuildKit's own places are known.
"""

from __future__ import annotations

from base64 import b64decode
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Final

from pydantic_core import from_json

from regfs.content.members import limited
from regfs.errors import AttestationInvalid

LIMIT: Final = 8 << 20
"""Bytes of the largest provenance that is read."""
_BUILDKIT: Final = "https://mobyproject.org/buildkit@v1#metadata"
_ARGUMENT: Final = "build-arg:"
_GIT: Final = ("gitCommit", "sha1", "sha256")


@dataclass(frozen=True, slots=True)
class Material:
    """What was used in a build: a base image, a repository, a file."""

    uri: str
    digests: tuple[str, ...]
    """Such as `sha256:...`."""


@dataclass(frozen=True, slots=True)
class Provenance:
    """What a provenance says; a text is empty where it says nothing."""

    slsa: str
    """`0.2` or `1`."""
    builder: str
    """Who has built it: mostly a URL."""
    build_type: str
    invocation: str
    started: str
    finished: str
    """Times as the builder wrote them."""
    platform: str
    """Of the machine that has built it."""
    frontend: str
    """What has read the Dockerfile, of BuildKit; with its version where that is told."""
    source: str
    """The repository, or folder of it, that the build is of."""
    commit: str
    entry_point: str
    """The file that says what to do, such as `Dockerfile`."""
    target: str
    """The stage of a Dockerfile that was asked for."""
    arguments: dict[str, str]
    """Build arguments."""
    secrets: tuple[str, ...]
    """Names of secrets, and of SSH agents, that were mounted."""
    materials: tuple[Material, ...]
    mode: str
    """`max` where BuildKit has written each step of the build, `min` where it has not; empty of
    other builders."""
    complete: bool | None
    """Whether the builder claims that the materials are all; None where it says nothing."""
    dockerfile: str
    """The Dockerfile itself, which `mode=max` has."""


def read_provenance(pieces: Iterator[bytes], predicate_type: str) -> Provenance:
    """Read the body of a provenance.

    Raises:
        AttestationInvalid: it is too large, is not JSON, or not an object.
    """
    data = limited(pieces, LIMIT, "its provenance")
    try:
        raw = from_json(data, allow_inf_nan=False)
    except ValueError as error:
        raise AttestationInvalid(f"is not JSON: {str(error)[:200]}") from None
    if not isinstance(raw, dict):
        raise AttestationInvalid("its predicate is not an object")
    first = "buildDefinition" in raw or predicate_type.endswith("/v1")
    return _Slsa1(raw).read() if first else _Slsa02(raw).read()


def _at(value: Any, *keys: str) -> Any:
    """Return what lies below some keys; None where there is nothing."""
    for key in keys:
        value = value.get(key) if isinstance(value, dict) else None
    return value


def _text(value: Any, *keys: str) -> str:
    found = _at(value, *keys)
    return found if isinstance(found, str) else ""


def _texts(value: Any) -> dict[str, str]:
    """Return the members of an object that are texts."""
    pairs = value.items() if isinstance(value, dict) else ()
    return {key: text for key, text in pairs if isinstance(text, str)}


def _digests(value: Any) -> tuple[str, ...]:
    return tuple(f"{kind}:{text}" for kind, text in _texts(value).items())


def _names(value: Any) -> Iterator[str]:
    for one in value if isinstance(value, list) else ():
        yield _text(one, "id") or _text(one, "name") or "default"


class _Slsa:
    """What both versions have, by the places that differ."""

    version = ""

    def __init__(self, raw: dict[str, Any]) -> None:
        self.raw = raw
        self.builder: Any = None
        self.request: Any = None
        """What BuildKit was asked: frontend and arguments."""
        self.config_source: Any = None
        self.entry = ""
        self.materials: Any = None
        self.metadata: Any = None
        self.own: Any = None
        """What BuildKit adds."""
        self.environment: Any = None
        self.steps: Any = None
        self.complete: Any = None

    def read(self) -> Provenance:
        """Return what it says."""
        arguments = _texts(_at(self.request, "args"))
        source, commit = self._source()
        is_buildkit = "buildkit" in self.build_type or self.own is not None
        detailed = self.steps is not None or _at(self.own, "source") is not None
        frontend = _text(self.request, "frontend")
        release = _text(self.environment, "dockerfileVersion")
        secrets = [*_names(_at(self.request, "secrets")), *_names(_at(self.request, "ssh"))]
        return Provenance(
            slsa=self.version,
            builder=_text(self.builder, "id"),
            build_type=self.build_type,
            invocation=_text(self.metadata, "invocationId")
            or _text(self.metadata, "buildInvocationID")
            or _text(self.metadata, "buildInvocationId"),
            started=_text(self.metadata, "startedOn") or _text(self.metadata, "buildStartedOn"),
            finished=_text(self.metadata, "finishedOn") or _text(self.metadata, "buildFinishedOn"),
            platform=_text(self.environment, "builderPlatform")
            or _text(self.environment, "platform"),
            frontend=f"{frontend} {release}".strip(),
            source=source,
            commit=commit,
            entry_point=self.entry or arguments.get("filename", ""),
            target=arguments.get("target", ""),
            arguments={
                key.removeprefix(_ARGUMENT): text
                for key, text in arguments.items()
                if key.startswith(_ARGUMENT)
            },
            secrets=tuple(dict.fromkeys(secrets)),
            materials=tuple(self._materials()),
            mode=("max" if detailed else "min") if is_buildkit else "",
            complete=self.complete if isinstance(self.complete, bool) else None,
            dockerfile=self._dockerfile(),
        )

    @property
    def build_type(self) -> str:
        """The kind of build, as a URL."""
        return _text(self.raw, "buildType")

    def _materials(self) -> Iterator[Material]:
        for one in self.materials if isinstance(self.materials, list) else ():
            if isinstance(one, dict):
                uri = _text(one, "uri") or _text(one, "name")
                yield Material(uri, _digests(one.get("digest")))

    def _source(self) -> tuple[str, str]:
        """Return the repository that was built and its commit, from the place that has both."""
        own = _text(self.own, "vcs", "source"), _text(self.own, "vcs", "revision")
        if any(own):
            return own
        source = _text(self.config_source, "uri") or _text(self.config_source, "repository")
        digests = _texts(_at(self.config_source, "digest"))
        if not digests:
            digests = self._digests_of(source)
        commit = next((digests[kind] for kind in _GIT if kind in digests), "")
        return source, commit

    def _digests_of(self, source: str) -> dict[str, str]:
        """Return the digests of the material that is a repository."""
        for one in self.materials if source and isinstance(self.materials, list) else ():
            if source in _text(one, "uri"):
                return _texts(_at(one, "digest"))
        return {}

    def _dockerfile(self) -> str:
        infos = _at(self.own, "source", "infos")
        for one in infos if isinstance(infos, list) else ():
            try:
                return b64decode(_text(one, "data"), validate=True).decode()
            except ValueError:
                continue
        return ""


class _Slsa1(_Slsa):
    version = "1"

    def __init__(self, raw: dict[str, Any]) -> None:
        super().__init__(raw)
        definition, details = raw.get("buildDefinition"), raw.get("runDetails")
        external = _at(definition, "externalParameters")
        self.definition = definition
        self.builder = _at(details, "builder")
        self.request = _at(external, "request")
        self.config_source = _at(external, "configSource") or _at(external, "workflow")
        self.entry = _text(self.config_source, "path")
        self.materials = _at(definition, "resolvedDependencies")
        self.metadata = _at(details, "metadata")
        self.own = _at(self.metadata, "buildkit_metadata")
        self.environment = _at(definition, "internalParameters")
        self.steps = _at(self.environment, "buildConfig")
        self.complete = _at(self.metadata, "buildkit_completeness", "resolvedDependencies")

    @property
    def build_type(self) -> str:
        return _text(self.definition, "buildType")


class _Slsa02(_Slsa):
    version = "0.2"

    def __init__(self, raw: dict[str, Any]) -> None:
        super().__init__(raw)
        invocation = raw.get("invocation")
        self.builder = raw.get("builder")
        self.request = _at(invocation, "parameters")
        self.config_source = _at(invocation, "configSource")
        self.entry = _text(self.config_source, "entryPoint")
        self.materials = raw.get("materials")
        self.metadata = raw.get("metadata")
        self.own = _at(self.metadata, _BUILDKIT)
        self.environment = _at(invocation, "environment")
        self.steps = raw.get("buildConfig")
        self.complete = _at(self.metadata, "completeness", "materials")
