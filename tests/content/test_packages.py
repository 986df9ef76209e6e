"""What package managers have installed, read from their databases: the same as they list."""

from __future__ import annotations

import sqlite3
import struct
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from regfs.content.packages import (
    Family,
    Package,
    PackageChange,
    PackageFate,
    changes,
    database_at,
    packages_in,
)
from regfs.errors import LayerInvalid
from tests.support.reference import needs_programs, run

STATUS, APK, RPM = (
    "var/lib/dpkg/status",
    "lib/apk/db/installed",
    "var/lib/rpm/rpmdb.sqlite",
)


@pytest.mark.parametrize(
    ("path", "family"),
    [
        (STATUS, Family.DPKG),
        ("var/lib/dpkg/status.d/base-files", Family.DPKG),
        ("var/lib/dpkg/status.d/base-files.md5sums", None),
        ("var/lib/dpkg/status-old", None),
        (APK, Family.APK),
        ("usr/lib/apk/db/installed", Family.APK),
        (RPM, Family.RPM),
        ("usr/lib/sysimage/rpm/rpmdb.sqlite", Family.RPM),
        ("etc/passwd", None),
    ],
)
def test_where_databases_lie(path: str, family: Family | None) -> None:
    assert database_at(path) is family


# -- dpkg ------------------------------------------------------------------------------------

DPKG = b"""\
Package: tar
Essential: yes
Status: install ok installed
Priority: required
Installed-Size: 3152
Maintainer: Janos Lenart <ocsi@debian.org>
Architecture: amd64
Multi-Arch: foreign
Version: 1.34+dfsg-1.2+deb12u1
Conffiles:
 /etc/default/tar 0123456789abcdef0123456789abcdef
Description: GNU version of the tar archiving utility
 Package: is no field here, and neither is
 Version: 7
 .
 The end.

Package: libc6
Status: install ok unpacked
Architecture: i386
Multi-Arch: same
Maintainer: x <x@example.com>
Version: 2.36-9+deb12u4
Description: C

Package: libc6
Status: hold ok installed
Architecture: amd64
Multi-Arch: same
Maintainer: x <x@example.com>
Version: 2.36-9+deb12u4
Description: C

Package: gone
Status: deinstall ok config-files
Architecture: all
Maintainer: x <x@example.com>
Version: 1:2
Description: gone

"""


@needs_programs("dpkg-query")
def test_packages_of_debian_are_those_that_dpkg_lists(tmp_path: Path) -> None:
    (tmp_path / "status").write_bytes(DPKG)
    words = "${Package} ${Architecture} ${Version} ${db:Status-Status}\n"
    said = run("dpkg-query", "-W", "--admindir", tmp_path, "-f", words).stdout.splitlines()
    listed = [Package(*line.split()[:3]) for line in said if not line.endswith(" config-files")]
    assert len(listed) == 3
    assert sorted(packages_in(STATUS, DPKG)) == sorted(listed)


@needs_programs("dpkg-query")
def test_packages_of_this_machine_are_those_that_dpkg_lists() -> None:
    said = run("dpkg-query", "-W", "-f", "${Package} ${Architecture} ${Version}\n").stdout
    here = Path("/", STATUS).read_bytes()
    found = {f"{one.name} {one.architecture} {one.version}" for one in packages_in(STATUS, here)}
    assert found and found <= set(said.splitlines())


def test_a_package_of_a_distroless_image() -> None:
    stanza = b"Package: tzdata\nVersion: 2024a-0+deb12u1\nArchitecture: all\n"
    found = list(packages_in("var/lib/dpkg/status.d/tzdata", stanza))
    assert found == [Package("tzdata", "all", "2024a-0+deb12u1")]


# -- apk -------------------------------------------------------------------------------------

ALPINE = b"""\
C:Q1qKcZ+j23xssAXmgQhkOO8dHnbWw=
P:alpine-baselayout
V:3.6.5-r0
A:x86_64
S:8515
F:dev
M:0:0:755
R:P
a:0:0:777

C:Q1Bmd6TrJlXbBvLdNQ0zXTZQE9bSQ=
P:musl
V:1.2.4_git20230717-r4
A:x86_64
F:lib
R:ld-musl-x86_64.so.1
a:0:0:755
"""


def test_packages_of_alpine() -> None:
    assert list(packages_in(APK, ALPINE)) == [
        Package("alpine-baselayout", "x86_64", "3.6.5-r0"),
        Package("musl", "x86_64", "1.2.4_git20230717-r4"),
    ]


# -- rpm -------------------------------------------------------------------------------------


def header(**values: str | int) -> bytes:
    """Return a header as RPM stores it, with the tags by their names."""
    tags = {"name": 1000, "version": 1001, "release": 1002, "epoch": 1003, "arch": 1022}
    index, data = b"", b""
    for name, value in values.items():
        if isinstance(value, int):
            data += bytes(-len(data) % 4)
        kind, raw = (4, struct.pack(">I", value)) if isinstance(value, int) else (6, value.encode())
        index += struct.pack(">IIII", tags[name], kind, len(data), 1)
        data += raw if kind == 4 else raw + b"\0"
    return struct.pack(">II", len(values), len(data)) + index + data


def database(path: Path, *headers: object, table: str = "") -> bytes:
    """Return a database as RPM writes it, with a log to be written ahead."""
    made = table or "CREATE TABLE 'Packages' (hnum INTEGER PRIMARY KEY, blob BLOB NOT NULL)"
    with closing(sqlite3.connect(path)) as connection:
        connection.execute("PRAGMA journal_mode = WAL")
        connection.execute(made)
        if not table:
            connection.executemany(
                "INSERT INTO Packages (blob) VALUES (?)", ((one,) for one in headers)
            )
        connection.commit()
    return path.read_bytes()


BASH = header(name="bash", version="5.1.8", release="9.el9", arch="x86_64")
SHADOW = header(name="shadow-utils", version="4.9", release="8.el9", epoch=2, arch="x86_64")


def test_packages_of_red_hat(tmp_path: Path) -> None:
    data = database(tmp_path / "rpmdb.sqlite", BASH, SHADOW)
    assert data[18:20] == b"\2\2"  # as RPM leaves it
    assert list(packages_in(RPM, data)) == [
        Package("bash", "x86_64", "5.1.8-9.el9"),
        Package("shadow-utils", "x86_64", "2:4.9-8.el9"),
    ]


@needs_programs("rpm", "rpmbuild")
def test_packages_of_red_hat_are_those_that_rpm_lists(tmp_path: Path) -> None:
    for name, epoch, version in (("one", 0, "1.0"), ("two", 2, "3~rc1")):
        spec = tmp_path / f"{name}.spec"
        spec.write_text(
            f"Name: {name}\nEpoch: {epoch}\nVersion: {version}\nRelease: 1.el9\nSummary: x\n"
            "License: MIT\nBuildArch: noarch\n%description\nx\n%files\n"
        )
        run("rpmbuild", "--define", f"_topdir {tmp_path}/top", "-bb", spec)
    made = sorted((tmp_path / "top/RPMS").rglob("*.rpm"))
    run("rpm", "--dbpath", tmp_path / "db", "-i", "--justdb", "--nodeps", *made)
    words = "%{NAME} %{ARCH} %{EVR}\n"
    said = run("rpm", "--dbpath", tmp_path / "db", "-qa", "--qf", words).stdout.splitlines()
    found = list(packages_in(RPM, (tmp_path / "db/rpmdb.sqlite").read_bytes()))
    listed = [Package(*line.replace(" 0:", " ").split()) for line in said]
    assert len(found) == 2
    assert sorted(found) == sorted(listed)


ENDLESS = (
    "CREATE VIEW Packages AS WITH RECURSIVE c(blob) AS "
    "(VALUES (x'00') UNION ALL SELECT x'00' FROM c) SELECT blob FROM c"
)


@pytest.mark.parametrize(
    ("rows", "table", "words"),
    [
        ((), "CREATE TABLE Other (blob)", "no table of packages"),
        ((), ENDLESS, "no table of packages"),
        (("text",), "", "a row without bytes"),
        ((b"",), "", "not a header of RPM"),
        ((b"\xff" * 64,), "", "it is truncated"),
        ((BASH[:-30],), "", "it is truncated"),
    ],
)
def test_a_hostile_database(
    tmp_path: Path, rows: tuple[object, ...], table: str, words: str
) -> None:
    data = database(tmp_path / "rpmdb.sqlite", *rows, table=table)
    with pytest.raises(LayerInvalid, match=words):
        list(packages_in(RPM, data))


def test_a_damaged_database(tmp_path: Path) -> None:
    data = database(tmp_path / "rpmdb.sqlite", *([SHADOW] * 300))
    for cut in (40, 4096, len(data) // 2, len(data) - 4096):
        with pytest.raises(LayerInvalid, match=RPM):
            list(packages_in(RPM, data[:cut]))


@pytest.mark.parametrize("name", ["Packages", "Packages.db"])
def test_other_databases_of_rpm_are_said_not_to_be_read(name: str) -> None:
    with pytest.raises(LayerInvalid, match=f"var/lib/rpm/{name}: of the databases of RPM only"):
        list(packages_in(f"var/lib/rpm/{name}", b"RpmP" + bytes(100)))


@given(st.binary(max_size=300), st.sampled_from([STATUS, APK, RPM]))
def test_any_bytes_are_packages_or_damage(data: bytes, path: str) -> None:
    prefix = b"SQLite format 3\0" if path == RPM else b""
    try:
        found = list(packages_in(path, prefix + data))
    except LayerInvalid:
        assert path == RPM
    else:
        assert all(isinstance(one, Package) for one in found)


# -- what has changed ------------------------------------------------------------------------


def packages(text: str) -> Iterator[Package]:
    for name in text.split():
        yield Package(name.partition("=")[0], "amd64", name.partition("=")[2])


@pytest.mark.parametrize(
    ("before", "after", "happened", "versions"),
    [
        ("", "a=1", PackageFate.ADDED, (None, "1")),
        ("a=1", "", PackageFate.REMOVED, ("1", None)),
        ("a=1.9", "a=1.10", PackageFate.UP, ("1.9", "1.10")),
        ("a=1.0", "a=1.0~rc1", PackageFate.DOWN, ("1.0", "1.0~rc1")),
        ("a=0:1.0", "a=1.0", PackageFate.REBUILT, ("0:1.0", "1.0")),
        ("a=1", "a=1 a=2", PackageFate.UP, ("1", "1, 2")),
        ("a=1 a=2", "a=2", PackageFate.REMOVED, ("1, 2", "2")),
    ],
)
def test_what_happened_to_a_package(
    before: str, after: str, happened: PackageFate, versions: tuple[str | None, str | None]
) -> None:
    found = list(changes(Family.DPKG, packages(f"{before} same=1"), packages(f"{after} same=1")))
    assert found == [PackageChange(happened, Family.DPKG, "a", "amd64", *versions)]
