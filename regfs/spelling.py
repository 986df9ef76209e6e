r"""How a name is spelled for people: one way, wherever it is shown.

    printable("caf\udce9\x1b[2J")    caf\xe9\x1b[2J    in a table, a path, a message
    quoted("-tag")                   '-tag'           within a sentence

Names in a tree may hold control characters, escape sequences or bytes that are not UTF-8.
JSON spells them as JSON does, so that programs get them back.
"""

from __future__ import annotations


def printable(text: object) -> str:
    """Return `text` with everything that a terminal would act on, or cannot show, escaped."""
    shown = str(text)
    return shown if shown.isprintable() else "".join(map(_escape, shown))


def quoted(text: str, limit: int = 300) -> str:
    """Return a name in quotes, printable; a long one is cut after `limit` characters."""
    return f"'{printable(text if len(text) <= limit else text[:limit] + '...')}'"


def _escape(character: str) -> str:
    if character.isprintable():
        return character
    if "\udc80" <= character <= "\udcff":
        return f"\\x{ord(character) - 0xDC00:02x}"
    return character.encode("unicode_escape").decode()
