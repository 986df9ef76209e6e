"""Which bucket a root means, and how it is reached.

    s3://bucket/prefix                          of_url
    config.yml: storage: {s3: {bucket: ..}}     of_driver
    ~/.aws/credentials, ~/.aws/config           profile, by the variables AWS_...
    AZURE_STORAGE_CONNECTION_STRING             connection

What is not said here, obstore takes from where each cloud's own programs do: the variables
AWS_..., GOOGLE_... and AZURE_..., and the role of the machine.
"""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from regfs.errors import NotARegistry, StoreError, printable, without_secrets
from regfs.stores.bucket.meter import Meter

INVENTORY: Final = "inventory:"
"""How a root begins that is a report of S3 Inventory."""
SCHEMES: Final = ("s3", "gs", "az")
CHANGED: Final = ("s3", "az")
"""Of these, the ones in which regfs changes something."""
DRIVERS: Final = {"s3": "s3", "s3aws": "s3", "gcs": "gs", "azure": "az"}
"""Driver of the reference registry -> scheme."""
KEYS: Final = {
    "AWS_ACCESS_KEY_ID": "access_key_id",
    "AWS_SECRET_ACCESS_KEY": "secret_access_key",
    "AWS_SESSION_TOKEN": "session_token",
    "AZURE_STORAGE_ACCOUNT_NAME": "account_name",
    "AZURE_STORAGE_ACCOUNT_KEY": "account_key",
}
"""Environment variables that hold keys, and the options of the same meaning."""
CREDENTIALS: Final = {
    "s3": "set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or AWS_PROFILE",
    "gs": "set GOOGLE_APPLICATION_CREDENTIALS",
    "az": "set AZURE_STORAGE_ACCOUNT_NAME and AZURE_STORAGE_ACCOUNT_KEY",
}
"""Scheme -> which variables hold the keys."""
CONNECTION: Final = "AZURE_STORAGE_CONNECTION_STRING"
VARIABLES: Final = (
    "HOME",
    "AWS_PROFILE",
    "AWS_SHARED_CREDENTIALS_FILE",
    "AWS_CONFIG_FILE",
    CONNECTION,
    *KEYS,
)
"""Environment variables that hold keys, or say which profile is meant."""
_NAME: Final = re.compile(r"[A-Za-z0-9$][A-Za-z0-9._-]{0,254}")
_S3: Final = {
    "accesskey": "access_key_id",
    "secretkey": "secret_access_key",
    "sessiontoken": "session_token",
    "region": "region",
}
_GCS: Final = {"keyfile": "service_account", "credentials": "service_account_key"}
_AZURE: Final = {
    "accountname": "account_name",
    "accountkey": "account_key",
    "credentials.clientid": "client_id",
    "credentials.tenantid": "tenant_id",
    "credentials.secret": "client_secret",
}
_PROFILE: Final = {
    "aws_access_key_id": "access_key_id",
    "aws_secret_access_key": "secret_access_key",
    "aws_session_token": "session_token",
    "region": "region",
    "endpoint_url": "endpoint",
}
_AZURE_REALM: Final = "core.windows.net"
_TAILS: Final = ("docker/registry/v2", "docker/registry", "docker")
"""How the prefix of a root may end that is within the tree."""


@dataclass(frozen=True, slots=True)
class Bucket:
    """A bucket, a prefix in it, and how to reach it. Its text holds no secret."""

    scheme: str
    name: str
    prefix: str = ""
    """Without `/` at either end."""
    options: Mapping[str, Any] = field(default_factory=dict, repr=False)
    """As obstore names them; credentials are among them."""
    keys: Mapping[str, str] = field(default_factory=dict, repr=False)
    """Those of the environment, which obstore reads itself: for requests that it cannot make."""
    insecure: bool = False
    """Whether any certificate is accepted."""
    meter: Meter = field(default_factory=Meter, repr=False, compare=False)
    """Counts what this process asks of it."""

    @property
    def url(self) -> str:
        """`s3://bucket/prefix`."""
        return f"{self.scheme}://{self.name}" + (f"/{self.prefix}" if self.prefix else "")

    @property
    def base(self) -> str:
        """What the keys of the tree begin with; the prefix may be within the tree."""
        prefix = self.prefix
        for tail in _TAILS:
            if f"/{prefix}".endswith(f"/{tail}"):
                prefix = prefix[: -len(tail)].rstrip("/")
                break
        return f"{prefix}/" if prefix else ""


def is_inventory(root: str) -> bool:
    """Return whether a root names a report of S3 Inventory."""
    return root.startswith(INVENTORY)


def is_bucket(root: str) -> bool:
    """Return whether a root is the URL of a bucket."""
    scheme, slashes, _ = root.partition("://")
    return bool(slashes) and scheme in SCHEMES


def of_url(root: str, variables: Mapping[str, str] | None = None) -> Bucket:
    """Return the bucket that a URL means; for S3, with the keys of the user's profile.

    Raises:
        NotARegistry: it is no such URL.
        StoreError: the profile cannot be used.
    """
    scheme, _, rest = root.partition("://")
    name, _, prefix = rest.partition("/")
    if "@" in name:
        raise NotARegistry(
            f"{scheme}://: credentials do not belong in a URL; {CREDENTIALS[scheme]}"
        )
    if not _NAME.fullmatch(name):
        raise NotARegistry(
            f"{without_secrets(root)}: must be {scheme}://BUCKET or {scheme}://BUCKET/PATH"
        )
    options = {}
    if scheme == "s3" and variables:
        options = profile(variables)
    elif scheme == "az" and variables and (given := variables.get(CONNECTION)):
        options = connection(given)
    return Bucket(scheme, name, _prefix(prefix), options, keys_of(variables or {}))


def connection(text: str) -> dict[str, str]:
    """Return what a connection string of Azure says, as options.

    Raises:
        StoreError: it names no account with a key.
    """
    parts = dict(part.strip().partition("=")[::2] for part in text.split(";"))
    name, key = parts.get("AccountName", ""), parts.get("AccountKey", "")
    if not (name and key):
        raise StoreError(f"{CONNECTION}: has no AccountName and AccountKey")
    suffix = parts.get("EndpointSuffix", _AZURE_REALM)
    protocol = parts.get("DefaultEndpointsProtocol", "https")
    endpoint = parts.get("BlobEndpoint") or f"{protocol}://{name}.blob.{suffix}"
    return {"account_name": name, "account_key": key, "endpoint": endpoint.rstrip("/")}


def keys_of(variables: Mapping[str, str]) -> dict[str, str]:
    """Return the keys that environment variables hold, as options."""
    return {KEYS[name]: text for name, text in variables.items() if name in KEYS and text}


def of_driver(
    driver: str, settings: Mapping[str, str], variables: Mapping[str, str] | None = None
) -> Bucket | None:
    """Return the bucket of a storage driver with its settings; None if it names none."""
    scheme = DRIVERS[driver]
    name = settings.get("container" if scheme == "az" else "bucket", "")
    if not _NAME.fullmatch(name):
        return None
    names = {"s3": _S3, "gs": _GCS, "az": _AZURE}[scheme]
    options = {new: settings[old] for old, new in names.items() if settings.get(old)}
    if scheme == "s3" and settings.get("regionendpoint"):
        options |= _endpoint(name, settings)
    realm = settings.get("realm", _AZURE_REALM)
    if scheme == "az" and realm != _AZURE_REALM:
        options["endpoint"] = f"https://{settings.get('accountname', '')}.blob.{realm}"
    insecure = settings.get("skipverify", "").lower() == "true"
    prefix = _prefix(settings.get("rootdirectory", ""))
    return Bucket(scheme, name, prefix, options, keys_of(variables or {}), insecure)


def _prefix(path: str) -> str:
    return "/".join(part for part in path.split("/") if part)


def _endpoint(name: str, settings: Mapping[str, str]) -> dict[str, str]:
    """Return how a server of one's own is reached: the bucket is part of the path by default."""
    given = settings["regionendpoint"].rstrip("/")
    scheme, slashes, host = given.rpartition("://")
    if not slashes:
        scheme = "http" if settings.get("secure", "").lower() == "false" else "https"
    if settings.get("forcepathstyle", "").lower() == "false":
        return {
            "endpoint": f"{scheme}://{name}.{host}",
            "virtual_hosted_style_request": "true",
        }
    return {"endpoint": f"{scheme}://{host}"}


def profile(variables: Mapping[str, str]) -> dict[str, str]:
    """Return what the user's profile for AWS says, unless the environment holds keys itself.

    Raises:
        StoreError: AWS_PROFILE names one that is not there, or that holds no keys.
    """
    home = variables.get("HOME")
    if home is None or variables.get("AWS_ACCESS_KEY_ID"):
        return {}
    wanted = variables.get("AWS_PROFILE")
    name = wanted or "default"
    keys = variables.get("AWS_SHARED_CREDENTIALS_FILE") or os.path.join(home, ".aws/credentials")
    settings = variables.get("AWS_CONFIG_FILE") or os.path.join(home, ".aws/config")
    found = _section(settings, name if name == "default" else f"profile {name}")
    found |= _section(keys, name)
    if wanted and not found.get("access_key_id"):
        raise StoreError(
            f"AWS_PROFILE: no access key of {printable(wanted)} in {printable(keys)}; for a role "
            "or SSO: aws configure export-credentials --format env"
        )
    return found


def _section(file: str, section: str) -> dict[str, str]:
    import configparser  # only profiles need it

    parser = configparser.RawConfigParser(strict=False, delimiters=("=",))
    try:
        parser.read(file, encoding="utf-8")
    except (configparser.Error, OSError, ValueError):
        # Not with the parser's words: they quote lines of the file.
        raise StoreError(
            f"{printable(file)}: not a file of AWS profiles that can be read"
        ) from None
    if not parser.has_section(section):
        return {}
    return {new: parser[section][old] for old, new in _PROFILE.items() if parser[section].get(old)}
