"""SBOMs, provenance and what is put around them, as tools write them."""

from __future__ import annotations

from base64 import b64encode
from typing import Any

from tests.support.images import Content, Document, dumps

SLSA1 = "https://slsa.dev/provenance/v1"
SLSA02 = "https://slsa.dev/provenance/v0.2"
SPDX = "https://spdx.dev/Document"
CYCLONEDX = "https://cyclonedx.org/bom"


def purl(kind: str, name: str, version: str) -> Document:
    locator = f"pkg:{kind}/{name}@{version}"
    return {"referenceType": "purl", "referenceLocator": locator}


SPDX2: Document = {
    "spdxVersion": "SPDX-2.3",
    "SPDXID": "SPDXRef-DOCUMENT",
    "name": "app",
    "creationInfo": {"created": "2024-01-01T00:00:00Z", "creators": ["Tool: syft-v1.0.0"]},
    "packages": [
        {"name": "app", "SPDXID": "SPDXRef-DocumentRoot-Image-app", "versionInfo": "v1"},
        {
            "name": "libc6",
            "SPDXID": "SPDXRef-Package-1",
            "versionInfo": "2.36-9",
            "licenseConcluded": "NOASSERTION",
            "licenseDeclared": "LGPL-2.1",
            "externalRefs": [
                {"referenceType": "cpe23Type", "referenceLocator": "cpe:2.3:a:libc6"},
                purl("deb", "debian/libc6", "2.36-9"),
            ],
        },
        {"name": "left-pad", "externalRefs": [purl("npm", "left-pad", "1.3.0")]},
        {"name": "plain"},
    ],
    "files": [{"fileName": "/etc/passwd"}, {"fileName": "/bin/sh"}],
}
SPDX3: Document = {
    "@context": "https://spdx.org/rdf/3.0.1/spdx-context.jsonld",
    "@graph": [
        {"type": "CreationInfo", "specVersion": "3.0.1", "created": "2024-01-01T00:00:00Z"},
        {"type": "SpdxDocument", "name": "app"},
        {
            "type": "software_Package",
            "name": "musl",
            "software_packageVersion": "1.2.5",
            "software_packageUrl": "pkg:apk/alpine/musl@1.2.5",
        },
        {"type": "software_File", "name": "/bin/sh"},
        {"type": "Tool", "name": "syft"},
    ],
}
CYCLONE: Document = {
    "bomFormat": "CycloneDX",
    "specVersion": "1.6",
    "metadata": {
        "timestamp": "2024-01-01T00:00:00Z",
        "tools": {"components": [{"type": "application", "name": "trivy"}]},
        "component": {"type": "container", "name": "app"},
    },
    "components": [
        {
            "type": "library",
            "name": "outer",
            "version": "1",
            "purl": "pkg:npm/outer@1",
            "licenses": [{"license": {"id": "MIT"}}],
            "components": [{"type": "library", "name": "inner", "purl": "pkg:npm/inner@2"}],
        },
        {"type": "file", "name": "/bin/sh"},
        {"type": "operating-system", "name": "debian", "version": "12"},
    ],
}
SYFT: Document = {
    "artifacts": [
        {"name": "busybox", "version": "1.36", "type": "apk", "purl": "pkg:apk/busybox@1.36",
         "licenses": [{"value": "GPL-2.0-only", "type": "declared"}]},
    ],
    "source": {"name": "app", "type": "image"},
    "descriptor": {"name": "syft", "version": "1.0.0"},
    "schema": {"version": "16.0.0"},
}  # fmt: skip

BUILDKIT1: Document = {
    "buildDefinition": {
        "buildType": "https://github.com/moby/buildkit/blob/master/docs/attestations/slsa-definitions.md",
        "externalParameters": {
            "configSource": {
                "uri": "https://github.com/acme/app.git#main",
                "digest": {"sha1": "a" * 40},
                "path": "build/Dockerfile",
            },
            "request": {
                "frontend": "dockerfile.v0",
                "args": {"build-arg:VERSION": "1.2", "target": "final", "cmdline": "x"},
                "secrets": [{"id": "token", "optional": True}],
                "ssh": [{"id": "default"}],
            },
        },
        "internalParameters": {
            "builderPlatform": "linux/arm64",
            "buildConfig": {"llbDefinition": [], "digestMapping": {}},
        },
        "resolvedDependencies": [
            {
                "uri": "pkg:docker/alpine@3.20?platform=linux%2Farm64",
                "digest": {"sha256": "b" * 64},
            },
            {"uri": "https://github.com/acme/app.git#main", "digest": {"sha1": "a" * 40}},
        ],
    },
    "runDetails": {
        "builder": {"id": "https://github.com/acme/app/actions/runs/1"},
        "metadata": {
            "invocationId": "inv",
            "startedOn": "2024-01-01T00:00:00Z",
            "finishedOn": "2024-01-01T00:01:00Z",
            "buildkit_completeness": {"request": True, "resolvedDependencies": True},
            "buildkit_metadata": {
                "source": {"infos": [{"filename": "Dockerfile", "data": "RlJPTSBhbHBpbmUK"}]},
                "vcs": {"source": "https://github.com/acme/app", "revision": "c" * 40},
            },
        },
    },
}
BUILDKIT02: Document = {
    "builder": {"id": "https://example.org/builder"},
    "buildType": "https://mobyproject.org/buildkit@v1",
    "materials": [{"uri": "pkg:docker/alpine@3.20", "digest": {"sha256": "b" * 64}}],
    "invocation": {
        "configSource": {"uri": "https://github.com/acme/app.git", "digest": {"sha1": "a" * 40},
                         "entryPoint": "Dockerfile"},
        "parameters": {"frontend": "dockerfile.v0", "args": {"build-arg:VERSION": "1.2"}},
        "environment": {"platform": "linux/amd64"},
    },
    "metadata": {
        "buildInvocationID": "inv",
        "buildStartedOn": "2024-01-01T00:00:00Z",
        "buildFinishedOn": "2024-01-01T00:01:00Z",
        "completeness": {"parameters": True, "environment": True, "materials": False},
        "reproducible": False,
    },
}  # fmt: skip
GITHUB1: Document = {
    "buildDefinition": {
        "buildType": "https://actions.github.io/buildtypes/workflow/v1",
        "externalParameters": {
            "workflow": {
                "ref": "refs/heads/main",
                "repository": "https://github.com/acme/app",
                "path": ".github/workflows/build.yml",
            }
        },
        "resolvedDependencies": [
            {
                "uri": "git+https://github.com/acme/app@refs/heads/main",
                "digest": {"gitCommit": "d" * 40},
            }
        ],
    },
    "runDetails": {"builder": {"id": "https://github.com/actions/runner/github-hosted"}},
}


def statement(subject: Content | str, predicate: Any, predicate_type: str = SPDX) -> bytes:
    """Return an in-toto statement about a manifest."""
    digest = subject if isinstance(subject, str) else subject.digest
    algorithm, _, encoded = digest.partition(":")
    return dumps(
        {
            "_type": "https://in-toto.io/Statement/v1",
            "predicateType": predicate_type,
            "subject": [{"name": "pkg:docker/app@v1", "digest": {algorithm: encoded}}],
            "predicate": predicate,
        }
    )


def envelope(payload: bytes) -> bytes:
    """Return a DSSE envelope, as cosign writes it."""
    body = b64encode(payload).decode()
    signatures = [{"keyid": "", "sig": "c2ln"}]
    kind = "application/vnd.in-toto+json"
    return dumps({"payloadType": kind, "payload": body, "signatures": signatures})


def bundle(payload: bytes) -> bytes:
    """Return a Sigstore bundle."""
    media_type = b'"application/vnd.dev.sigstore.bundle.v0.3+json"'
    material = b'"verificationMaterial":{"certificate":{}}'
    return b'{"mediaType":%s,%s,"dsseEnvelope":%s}' % (media_type, material, envelope(payload))
