"""The files of `regfs serve`: passwords, rules, a certificate and its key.

They are read at the start and again on SIGHUP, each by itself. If one is invalid by then, that
is logged and its previous content stays in force.
"""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Any

import click

from regfs.errors import DocumentInvalid

if TYPE_CHECKING:
    from collections.abc import Callable

    from regfs.server.auth import Gate
    from regfs.server.rules import Access
    from regfs.server.tls import Certificate

_log = logging.getLogger("regfs.serve")


class ServeFiles:
    """The content of the files that the options name."""

    def __init__(self, options: dict[str, Any], note: Callable[[str], None]) -> None:
        """Read them; `note` gets remarks about them.

        Raises:
            DocumentInvalid: one of them cannot be used.
            click.UsageError: one of them cannot be read.
        """
        self._users: str | None = options["htpasswd"]
        self._rules: str | None = options["access"]
        self._certificate: str | None = options["tls_cert"]
        self.gate: Gate | None = None
        """Who may do what; None if everybody may do everything."""
        self.tls: Certificate | None = None
        try:
            if self._users:
                self.gate = self._gate(self._users, note)
        except OSError as error:
            raise click.UsageError(f"{error.filename}: {error.strerror or error}") from None
        if self._certificate:
            from regfs.server.tls import Certificate

            self.tls = Certificate(self._certificate, options["tls_key"])

    def reload(self) -> None:
        """Read them again and log the outcome."""
        parts = [
            (self._users, self._read_users, "the users"),
            (self._rules, self._read_rules, "the rules"),
            (self._certificate, self._read_certificate, "the certificate and its key"),
        ]
        for name, read, what in parts:
            if name is None:
                continue
            try:
                read(name)
                _log.info("%s was read again", name)
            except DocumentInvalid as error:
                _log.error("%s; %s stay as they were", error, what)
            except OSError as error:
                _log.error("%s: %s; %s stay as they were", name, error.strerror or error, what)
        if not (self._users or self._certificate):
            _log.info("there is no file to read again")

    def _gate(self, users: str, note: Callable[[str], None]) -> Gate:
        from regfs.server.auth import Gate
        from regfs.server.htpasswd import PasswordFile

        gate = Gate(PasswordFile(users))
        if self._rules:
            gate.access = _rules(self._rules)
            self._remark(gate, note)
        return gate

    def _remark(self, gate: Gate, note: Callable[[str], None]) -> None:
        """Note users whom the rules name but who cannot log in."""
        for user in gate.access.users if gate.access else ():
            if user not in gate.passwords.users:
                note(f"{self._rules}: {user} has no password in {self._users}")

    def _read_users(self, name: str) -> None:
        from regfs.server.htpasswd import PasswordFile

        assert self.gate is not None
        self.gate.passwords = PasswordFile(name)

    def _read_rules(self, name: str) -> None:
        assert self.gate is not None
        self.gate.access = _rules(name)
        self._remark(self.gate, _log.warning)

    def _read_certificate(self, _: str) -> None:
        assert self.tls is not None
        self.tls.read_again()


def _rules(name: str) -> Access:
    from regfs.server.rules import load_access

    with open(name, "rb") as opened:
        return load_access(opened.read(), name)
