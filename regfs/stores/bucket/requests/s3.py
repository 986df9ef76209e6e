"""S3: who asks, where the bucket is, and how requests are signed."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import parse_qs

from regfs.errors import Doubt, StoreError, printable
from regfs.stores.bucket.place import Bucket
from regfs.stores.bucket.requests.calls import Call
from regfs.stores.bucket.requests.cloud import address
from regfs.stores.bucket.requests.expiring import Signer, sign_until

if TYPE_CHECKING:
    from requests import PreparedRequest

_KEYS: Final = (
    "to change a bucket, or to see its uploads, access keys are needed: set AWS_ACCESS_KEY_ID and "
    "AWS_SECRET_ACCESS_KEY; of a role or SSO: aws configure export-credentials --format env"
)


class S3Cloud:
    """One bucket of S3. May be used from several threads."""

    name = "S3"
    scheme = "s3"
    clock = Call("HEAD", "s3:ListBucket")

    def __init__(self, bucket: Bucket) -> None:
        """Nothing is requested yet.

        Raises:
            Doubt: it is no bucket of S3, there are no keys, or what signs is not installed.
            StoreError: what is set does not suffice to reach the bucket.
        """
        key, secret, token = _keys(bucket)
        self.base, signed = address(bucket)
        credential = parse_qs(signed.query).get("X-Amz-Credential", [""])[0].split("/")
        if len(credential) != 5:
            raise StoreError(f"{printable(bucket.url)}: its region is not known; set AWS_REGION")
        region = credential[2]
        self._usual = _signer(key, secret, region, token)
        self._expiring = Signer(key, secret, token, region)

    def sign(self, request: Any, now: float, seconds: int | None) -> PreparedRequest:
        """Sign a request, in its header or in its query."""
        if seconds is None:
            return self._usual(request)
        sign_until(request, self._expiring, now, seconds)
        prepared: PreparedRequest = request
        return prepared


def _keys(bucket: Bucket) -> tuple[str, str, str]:
    """Return the access key, the secret key and the token, empty if there is none."""
    if bucket.scheme != "s3":
        raise Doubt(f"{printable(bucket.url)}: this is asked of S3 only")
    for keys in (bucket.options, bucket.keys):
        if keys.get("access_key_id") and keys.get("secret_access_key"):
            return (
                keys["access_key_id"],
                keys["secret_access_key"],
                keys.get("session_token", ""),
            )
    raise Doubt(f"{printable(bucket.url)}: {_KEYS}")


def _signer(key: str, secret: str, region: str, token: str) -> Callable[[Any], PreparedRequest]:
    try:
        from requests_aws4auth import AWS4Auth
    except ModuleNotFoundError:
        raise Doubt("requests-aws4auth is missing: pip install 'regfs[bucket]'") from None

    class PathAsSent(AWS4Auth):  # type: ignore[misc]
        """Signs the path as it is sent: keys may hold what a normal path does not."""

        def amz_cano_path(self, path: str) -> str:
            return path

    def sign(request: Any) -> PreparedRequest:
        # One for each request: it renews its key at midnight, which threads must not share.
        extra = {"session_token": token} if token else {}
        signed: PreparedRequest = PathAsSent(key, secret, region, "s3", **extra)(request)
        return signed

    return sign
