"""TLS from a certificate and a key in PEM files, which can be reloaded while in use."""

from __future__ import annotations

import ssl

from regfs.errors import DocumentInvalid


def server_context(certificate: str, key: str) -> ssl.SSLContext:
    """Return a context for a server: TLS 1.2 and later, HTTP/1.1.

    Raises:
        DocumentInvalid: a file cannot be used; the message names it.
    """
    _expect(certificate, b"-----BEGIN CERTIFICATE-----", "certificate")
    _expect(key, b"PRIVATE KEY-----", "private key")
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.set_alpn_protocols(["http/1.1"])

    def no_phrase() -> str:
        raise DocumentInvalid(f"{key}: the key has a passphrase; give one without")

    try:
        context.load_cert_chain(certificate, key, password=no_phrase)
    except ssl.SSLError as error:
        if error.reason == "KEY_VALUES_MISMATCH":
            raise DocumentInvalid(f"{key}: not the key of {certificate}") from None
        what = (error.reason or "not understood").replace("_", " ").lower()
        raise DocumentInvalid(f"{certificate}, {key}: {what}") from None
    return context


def _expect(path: str, sign: bytes, what: str) -> None:
    try:
        with open(path, "rb") as opened:
            data = opened.read()
    except OSError as error:
        raise DocumentInvalid(f"{path}: {error.strerror or error}") from None
    if sign not in data:
        raise DocumentInvalid(f"{path}: contains no {what} in PEM")


class Certificate:
    """A certificate and its key; new connections get those that were read last."""

    def __init__(self, certificate: str, key: str) -> None:
        """Read the files.

        Raises:
            DocumentInvalid: a file cannot be used; the message names it.
        """
        self._files = certificate, key
        self._current = self.context = server_context(certificate, key)
        """The context for a server; each connection switches to the current certificate."""
        self.context.sni_callback = self._choose

    def read_again(self) -> None:
        """Read the files again.

        Raises:
            DocumentInvalid: as above; the previous certificate stays.
        """
        self._current = server_context(*self._files)

    def _choose(self, connection: ssl.SSLObject, name: str | None, _: ssl.SSLContext) -> None:
        # OpenSSL calls this for every connection, even if it names no host.
        connection.context = self._current
