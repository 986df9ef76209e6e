"""Files of images on the page: folders, what a layer does, content, and layers that mean harm."""

from __future__ import annotations

import asyncio
import gzip
import re
import tarfile
import threading
from html import unescape
from pathlib import Path

import pytest

from regfs.content.cache import Cache
from regfs.errors import ManifestInvalid
from regfs.server.lines import LineFull
from regfs.server.ui import image_files, jobs
from regfs.server.ui.jobs import Deadline, Jobs, TakesTooLong
from tests.support.builder import TreeBuilder, image, index, layer
from tests.support.exchange import Answer
from tests.support.pages import asked, visible
from tests.support.server import hosted

BASE = layer(
    {"etc": None, "etc/hosts": b"localhost", "etc/old": b"o" * 3000, "bin/sh": b"\x7fELF\0"}
)
TOP = layer({"etc/hosts": b"changed to this", "etc/.wh.old": b"", "srv/new": b"<b>new</b>"})


def files_of(tree: TreeBuilder, name: str, tag: str) -> str:
    return f"/r/{name}/_files/{tree.current(name, tag)}/"


@pytest.fixture
def two(tree: TreeBuilder) -> TreeBuilder:
    tree.push("app", "v1", image([BASE, TOP]))
    return tree


def names(page: Answer) -> list[str]:
    """Return what a folder lists; the table of waste names whole paths."""
    return re.findall(r'<th scope="row"><(?:a href="[^"]*"|del)>([^/<][^<]*)<', page.text)


def test_an_image_leads_to_its_files_and_a_folder_to_what_is_in_it(two: TreeBuilder) -> None:
    with hosted(two.root) as url:
        image_page = asked(url, "/r/app/_tags/v1")
        root = files_of(two, "app", "v1")
        assert f'href="{root}"' in image_page.text
        assert f'href="{root}?layer=2"' in image_page.text
        page = asked(url, root)
        assert names(page) == ["bin/", "etc/", "srv/"]
        assert "another 3.01 kB lie in lower layers" in visible(page)
        assert "/etc/old 3.00 kB 1 removed by layer 2" in visible(page)
        assert "/etc/hosts 9 B 1 overwritten by layer 2" in visible(page)
        inner = unescape(re.findall(r'href="([^"]*/etc)"', page.text)[0])
        assert names(asked(url, inner)) == ["hosts"]
        assert asked(url, f"{root}none").status == 404
        assert asked(url, f"{root}?layer=3").status == 404


def test_a_layer_tells_what_it_adds_changes_and_removes(two: TreeBuilder) -> None:
    with hosted(two.root) as url:
        root = files_of(two, "app", "v1")
        page = asked(url, f"{root}?layer=2")
        assert "2 added, 1 changed, 1 removed" in visible(page)
        assert names(page) == ["etc/", "srv/"]
        assert "1 changed, 1 removed" in visible(page)
        etc = visible(asked(url, f"{root}etc?layer=2"))
        assert "hosts changed" in etc
        assert "was 9 B" in etc
        assert "old removed" in etc
        before = visible(asked(url, f"{root}etc/old?layer=1"))
        assert "o" * 100 in before, "what a layer had can be read, though it is gone"


def test_the_content_of_a_file_is_text_or_bytes_and_never_markup(two: TreeBuilder) -> None:
    with hosted(two.root) as url:
        root = files_of(two, "app", "v1")
        assert "changed to this" in visible(asked(url, f"{root}etc/hosts"))
        assert "&lt;b&gt;new&lt;/b&gt;" in asked(url, f"{root}srv/new").text
        assert "7f 45 4c 46 00" in visible(asked(url, f"{root}bin/sh"))


def test_only_the_beginning_of_a_large_file_is_shown(tree: TreeBuilder) -> None:
    text = "äöü".encode() * 50_000
    tree.push("app", "v1", image([layer({"text": text, "bytes": bytes(100_000)})]))
    with hosted(tree.root) as url:
        root = files_of(tree, "app", "v1")
        page = visible(asked(url, f"{root}text"))
        assert "the first 65,536 of 300,000 bytes" in page
        assert "äöüäöü" in page
        assert "the first 2,048 of 100,000 bytes" in visible(asked(url, f"{root}bytes"))


def test_hostile_names_lead_to_their_files(tree: TreeBuilder) -> None:
    evil = ["<img src=x onerror=alert(1)>", "a\x1bb", "caf\udce9", "turned\u202e", "_manifests"]
    tree.push("app", "v1", image([layer({name: b"this" for name in evil})]))
    with hosted(tree.root) as url:
        page = asked(url, files_of(tree, "app", "v1"))
        links = [unescape(link) for link in re.findall(r'row"><a href="([^"]+)"', page.text)]
        assert len(links) == len(evil)
        for link in links:
            assert "this" in visible(asked(url, link)), link
        assert "<img src=x" not in page.text
        assert "\u202e" not in page.text
        assert "\x1b" not in page.text


def test_a_large_folder_comes_page_by_page(tree: TreeBuilder) -> None:
    tree.push("app", "v1", image([layer({f"f{n:04}": b"" for n in range(450)})]))
    with hosted(tree.root) as url:
        root = files_of(tree, "app", "v1")
        for query in ("?", "?layer=1&"):
            page = asked(url, f"{root}{query}page=3")
            assert names(page) == [f"f{n:04}" for n in range(400, 450)]
            assert 'rel="prev"' in page.text
            assert 'rel="next"' not in page.text


def test_links_and_devices_say_what_they_are(tree: TreeBuilder) -> None:
    hard, soft, device = (tarfile.TarInfo(name) for name in ("hard", "soft", "null"))
    hard.type, hard.linkname = tarfile.LNKTYPE, "file"
    soft.type, soft.linkname = tarfile.SYMTYPE, "../../etc/passwd"
    device.type, device.devmajor, device.devminor = tarfile.CHRTYPE, 1, 3
    content: dict[str, bytes | tarfile.TarInfo | None] = {
        "file": b"the content",
        "hard": hard,
        "soft": soft,
        "null": device,
    }
    tree.push("app", "v1", image([layer(content)]))
    with hosted(tree.root) as url:
        root = files_of(tree, "app", "v1")
        page = visible(asked(url, root))
        assert "→ ../../etc/passwd" in page
        assert "character device 1, 3" in page
        assert "the content" in visible(asked(url, f"{root}hard"))
        assert asked(url, f"{root}soft").status == 200


def test_damaged_layers_are_said_to_be_and_the_others_shown(two: TreeBuilder) -> None:
    two.push("app", "gone", image([BASE, "more"]))
    two.break_("blob-missing", "app", "gone")
    with hosted(two.root) as url:
        root = files_of(two, "app", "gone")
        page = asked(url, root)
        layers = [visible(asked(url, f"{root}?layer={number}")) for number in (1, 2)]
    assert page.status == 200
    assert "it cannot be read" in " ".join(layers)
    assert 'class="note error"' in page.text


def test_indexes_and_artifacts_have_no_files(tree: TreeBuilder) -> None:
    tree.push("app", "multi", index(image([BASE]), image([TOP], platform="linux/arm64")))
    with hosted(tree.root) as url:
        page = asked(url, files_of(tree, "app", "multi"))
        assert page.status == 404
        assert "An index has no files; its images have" in visible(page)


# -- layers that want too much ------------------------------------------------------------


def test_a_layer_that_unpacks_without_end_does_not_hold_a_page(
    tree: TreeBuilder, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(jobs, "LONGEST", 0.02)
    tree.push("app", "v1", image([gzip.compress(bytes(64 << 20)) * 3]))
    with hosted(tree.root) as url:
        page = asked(url, files_of(tree, "app", "v1"))
        assert page.status == 422
        assert "longer than a page can wait; the command line has no such limit" in visible(page)
        assert asked(url, "/r/app").status == 200


def test_an_image_of_too_many_files_is_left_to_the_command_line(
    two: TreeBuilder, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(image_files, "MOST", 3)
    with hosted(two.root) as url:
        page = asked(url, files_of(two, "app", "v1"))
    assert page.status == 422
    assert "more than 3 entries" in visible(page)


def test_a_layer_of_too_many_files_is_not_held(
    two: TreeBuilder, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(image_files, "MOST", 450)
    two.push("app", "large", image([layer({f"f{n}": b"" for n in range(500)})]))
    with hosted(two.root, cache=Cache(str(tmp_path / "cache"))) as url:
        assert asked(url, files_of(two, "app", "large")).status == 422
        assert asked(url, files_of(two, "app", "v1")).status == 200
    with hosted(two.root, cache=Cache(str(tmp_path / "cache"))) as url:
        assert asked(url, files_of(two, "app", "large")).status == 422
        page = asked(url, files_of(two, "app", "v1"))
    assert names(page) == ["bin/", "etc/", "srv/"], "from the cache the same as from the layers"


# -- work and its results ----------------------------------------------------------------------


class Clock:
    """A clock that stands still unless it is moved."""

    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


def test_work_is_done_once_and_goes_on_when_nobody_waits() -> None:
    done, go = list[int](), threading.Event()

    def work(doing: Deadline) -> tuple[str, int]:
        go.wait(120)
        done.append(1)
        return "result", 1

    async def scenario() -> None:
        kept = Jobs()
        assert await kept.get("a", "key", work, patience=0.01) is None
        go.set()
        assert await kept.get("b", "key", work, patience=120) == "result"
        assert await kept.get("c", "key", work, patience=120) == "result"
        kept.close()

    asyncio.run(scenario())
    assert done == [1]


def test_a_failure_is_kept_for_a_moment() -> None:
    tried = list[int]()

    def work(doing: Deadline) -> tuple[str, int]:
        tried.append(1)
        raise ManifestInvalid("broken")

    async def scenario() -> None:
        kept = Jobs()
        for _ in range(3):
            with pytest.raises(ManifestInvalid):
                await kept.get("a", "key", work, patience=120)
        kept.close()

    asyncio.run(scenario())
    assert tried == [1]


def test_results_are_forgotten_by_weight_and_by_age(clock: Clock) -> None:
    made = list[str]()

    async def scenario() -> None:
        kept = Jobs(clock)

        async def get(name: str, weight: int) -> None:
            def work(doing: Deadline) -> tuple[str, int]:
                made.append(name)
                return name, weight

            assert await kept.get("a", name, work, patience=120) == name

        await get("one", jobs.WEIGHT // 2)
        await get("two", jobs.WEIGHT // 2)
        await get("one", 0)
        await get("three", jobs.WEIGHT // 2)  # the one that was asked for longest ago goes
        await get("one", 0)
        await get("two", jobs.WEIGHT // 2)
        assert made == ["one", "two", "three", "two"]
        clock.now += jobs.IDLE + 1
        await get("two", 0)
        assert made[-1] == "two"
        assert len(made) == 5
        kept.close()

    asyncio.run(scenario())


def test_a_result_that_does_not_last_is_made_anew(clock: Clock) -> None:
    made = list[int]()

    def work(doing: Deadline) -> tuple[str, int]:
        made.append(1)
        return "damaged", 1

    async def scenario() -> None:
        kept = Jobs(clock)
        for _ in range(4):
            assert await kept.get("a", "key", work, 30, lambda value: False) == "damaged"
            clock.now += jobs.RETRY / 2 + 0.1
        kept.close()

    asyncio.run(scenario())
    assert made == [1, 1]


def test_one_client_cannot_queue_without_end() -> None:
    go = threading.Event()

    def work(doing: Deadline) -> tuple[str, int]:
        go.wait(120)
        return "done", 1

    async def scenario() -> None:
        kept = Jobs()
        for number in range(jobs.WAITING):
            assert await kept.get("a", number, work, patience=0) is None
        with pytest.raises(LineFull):
            await kept.get("a", "more", work, patience=1)
        go.set()
        assert await kept.get("b", "mine", work, patience=120) == "done"
        kept.close()

    asyncio.run(scenario())


def test_work_ends_when_its_time_is_over(clock: Clock) -> None:
    doing = Deadline(5, clock)
    doing.start("Reading", 100)
    clock.now += 4
    doing.advance(50)
    assert str(doing) == "Reading: 50%"
    clock.now += 2
    with pytest.raises(TakesTooLong):
        doing.advance(1)
