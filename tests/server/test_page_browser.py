"""The page in a real browser: keyboard, phone, dark, without script, and with a hostile tree."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from regfs.server.settings import Limits
from regfs.server.ui import snapshots
from regfs.tree.scan import scan
from tests.support.browser import CONTRASTS, Watched, chromium, needs_browser
from tests.support.builder import TreeBuilder, artifact, attestation, image, index, layer
from tests.support.images import Blob
from tests.support.sboms import SPDX, SPDX2, statement
from tests.support.server import hosted

if TYPE_CHECKING:
    from playwright.sync_api import Browser

pytestmark = list(needs_browser)

LONG = "n" * 255
BASE = layer({"base": os.urandom(50_000)})
STEPS = [
    {"created_by": "ADD rootfs.tar /"},
    {"created_by": "ENV A=b", "empty_layer": True},
    {"created_by": f"RUN /bin/sh -c make {'long-option ' * 30}# buildkit"},
]
CONFIG = {
    "history": STEPS,
    "author": "somebody",
    "config": {
        "Labels": {"org.example." + "l" * 200: "v" * 300},
        "Env": ["PATH=" + "/usr/bin:" * 40],
        "Entrypoint": ["/bin/tini", "--"],
    },
}
FILES = image([
    layer({"etc": None, "etc/hosts": b"text " * 200, "old": b"x", "f" * 200: b"\0"}),
    layer({"etc/hosts": b"text", ".wh.old": b"", "new": b"x"}),
])  # fmt: skip
SBOM = Blob(statement(FILES, SPDX2))
BUILT = index(FILES, attestation(FILES, SBOM.data, types=[SPDX]))
IN_FILES = f"/r/team/app/_files/{FILES.digest}/"
PAGES = (
    "/",
    "/r/team/app",
    "/r/team/app/_tags/v1",
    "/r/team/app/_tags/multi",
    "/r/team/app?sort=version",
    f"/b/{Blob(BASE).digest}",
    f"/r/{LONG}",
    f"/r/{LONG}/_tags/v1",
    IN_FILES,
    f"{IN_FILES}?layer=2",
    f"{IN_FILES}etc/hosts",
    f"{IN_FILES}{'f' * 200}",
    "/compare",
    "/compare?a=team/app:v1&b=team/app:files",
    f"/r/team/app/_documents/{BUILT.digest}",
    f"/r/team/app/_documents/{BUILT.digest}/{SBOM.digest}",
    "/usage",
    "/usage?by=layer",
    "/reuse",
    "/bases",
    "/r/team/app/_removal/v1",
    "/findings",
    "/gc?untagged=1",
    "/search?q=a",
    "/r/not/there",
)


@pytest.fixture(scope="module")
def tree(tmp_path_factory: pytest.TempPathFactory) -> TreeBuilder:
    """A registry with one of everything, and names as long as can be."""
    tree = TreeBuilder(tmp_path_factory.mktemp("page") / "registry")
    app = image([BASE, layer({"app": os.urandom(30_000)})], CONFIG, annotations={"a" * 200: "b"})
    other = image([BASE, "arm"], CONFIG, platform="linux/arm64/v8")
    tree.push("library/base", "12", image([BASE]))
    tree.push("team/app", "v1", app)
    tree.push("team/app", "v2", image([BASE, "new"], CONFIG))
    tree.push("team/app", "files", FILES)
    tree.push("team/app", "built", BUILT)
    tree.push("team/app", "multi", index(app, other, attestation(app)))
    tree.push("team/app", None, artifact([b"signature"], subject=app, artifact_type="a/signature"))
    tree.push("team/app", None, image(["forgotten"]))
    tree.push(LONG, "v1", image(["long"]))
    tree.push(LONG, "t" * 128, image(["long"]))
    tree.push("broken", "v1", image(["broken"]))
    tree.break_("blob-missing", "broken", "v1")
    tree.upload("team/app", 100)
    tree.blob(os.urandom(9000))
    return tree


@pytest.fixture(scope="module")
def url(tree: TreeBuilder) -> Iterator[str]:
    with hosted(tree.root) as url:
        yield url


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with chromium() as browser:
        yield browser


Open = Callable[..., Watched]


@pytest.fixture
def visit(browser: Browser) -> Iterator[Open]:
    """Open a page in a window of its own; in the end nothing may have been wrong on it."""
    opened: list[Watched] = []
    with ExitStack() as stack:

        def visit(url: str, **options: Any) -> Watched:
            context = browser.new_context(**options)
            stack.callback(context.close)
            opened.append(Watched(context.new_page(), url))
            return opened[-1]

        yield visit
        for one in opened:
            # That a page is not there is said on the console too.
            one.wrong = [said for said in one.wrong if "status of 404" not in said]
            one.done()


# -- how it looks --------------------------------------------------------------------------


def test_nothing_is_wider_than_a_phone(visit: Open, url: str) -> None:
    phone = visit(url, viewport={"width": 360, "height": 740}, is_mobile=True, has_touch=True)
    for path in PAGES:
        phone.go(path)
        assert phone.overflow() <= 0, path
        assert phone.page.locator("h1").is_visible()


def test_dark_is_dark_and_every_text_stands_out(visit: Open, url: str) -> None:
    grounds = {}
    for scheme in ("light", "dark"):
        window = visit(url, color_scheme=scheme)
        for path in PAGES:
            window.go(path)
            assert window.page.evaluate(CONTRASTS) == [], (scheme, path)
        ground = "() => getComputedStyle(document.body).backgroundColor"
        grounds[scheme] = window.page.evaluate(ground)
    light, dark = (
        sum(map(int, grounds[scheme].strip("rgb()").split(","))) for scheme in ("light", "dark")
    )
    assert light > 3 * 220
    assert dark < 3 * 50


def test_axe_finds_nothing_wrong_on_any_page(visit: Open, url: str) -> None:
    from axe_playwright_python.sync_playwright import Axe  # type: ignore[import-untyped]

    axe = Axe()
    window = visit(url)
    for path in PAGES:
        window.go(path)
        found = axe.run(window.page)
        assert found.violations_count == 0, f"{path}: {found.generate_report()}"


def test_the_areas_of_the_map_can_be_gone_to_on_a_phone_and_on_a_desk(
    visit: Open, url: str
) -> None:
    for width, shown in ((1200, ".tiles.wide"), (360, ".tiles.narrow")):
        window = visit(url, viewport={"width": width, "height": 800})
        window.go("/usage")
        maps = window.page.locator(".tiles:visible")
        assert maps.count() == 1
        window.page.locator(f"{shown} a[aria-label^='team/app: ']").click()
        assert window.path == "/r/team/app"


# -- with the keyboard alone ----------------------------------------------------------------


def test_an_image_is_found_with_the_keyboard_alone(visit: Open, url: str) -> None:
    window = visit(url)
    window.go("/")
    keyboard = window.page.keyboard
    keyboard.press("Tab")
    assert window.focused() == "Skip to content"
    box = window.page.locator(".skip").bounding_box()
    assert box is not None
    assert box["x"] >= 0
    keyboard.press("Enter")
    window.tab_to("team/app")
    keyboard.press("Enter")
    window.page.wait_for_url("**/r/team/app")
    window.tab_to("v1")
    keyboard.press("Enter")
    window.page.wait_for_url("**/_tags/v1")
    window.tab_to("Layer 2: RUN make " + ("long-option " * 30).strip())
    keyboard.press("Enter")
    assert window.path.endswith("#layer-2")
    assert window.page.locator("#layer-2").is_visible()


def test_search_and_map_can_be_used_with_the_keyboard_alone(visit: Open, url: str) -> None:
    window = visit(url)
    window.go("/usage")
    tile = window.page.locator(".tiles:visible a[aria-label^='team/app: ']")
    window.tab_to(str(tile.get_attribute("aria-label")))
    window.page.keyboard.press("/")
    assert window.page.evaluate("() => document.activeElement.id") == "search"
    window.page.keyboard.type("library/ba")
    window.page.keyboard.press("Enter")
    window.page.wait_for_url("**/search?q=*")
    window.tab_to("library/base")
    window.page.keyboard.press("Enter")
    window.page.wait_for_url("**/r/library/base")


# -- what the script adds, and that nothing needs it --------------------------------------------


def test_repositories_are_filtered_while_one_types(visit: Open, url: str) -> None:
    window = visit(url)
    window.go("/")
    rows = window.page.locator("#results tbody tr")
    assert rows.count() == 4
    window.page.locator("#filter").press_sequentially("libr")
    window.page.wait_for_url("**/?q=libr")
    assert rows.count() == 1
    assert window.page.evaluate("() => document.activeElement.id") == "filter"


def test_a_filter_of_tags_can_be_cleared(visit: Open, url: str) -> None:
    window = visit(url)
    window.go("/r/team/app?q=multi")
    rows = window.page.locator("#results tbody tr")
    assert rows.count() == 1
    window.page.locator("#filter").press("Control+a")
    window.page.locator("#filter").press("Delete")
    window.page.locator("#results tbody tr").nth(1).wait_for()
    assert window.path == "/r/team/app"
    window.go("/r/team/app?q=multi&page=1")
    window.page.locator("#filter").fill("v1")
    window.page.wait_for_url("**/r/team/app?q=v1")
    window.page.locator("#results a", has_text="Show all").click()
    window.page.wait_for_url("**/r/team/app")
    assert rows.count() > 1


def test_a_command_is_copied(visit: Open, url: str) -> None:
    window = visit(url, permissions=["clipboard-read", "clipboard-write"])
    window.go("/r/team/app/_tags/v1")
    window.page.locator("button.copy").first.click()
    window.page.locator("button.copy", has_text="Copied").wait_for()
    host = url.removeprefix("http://")
    copied = window.page.evaluate("() => navigator.clipboard.readText()")
    assert copied == f"docker pull {host}/team/app:v1"


def test_without_script_all_the_same_can_be_done(visit: Open, url: str) -> None:
    window = visit(url, java_script_enabled=False)
    window.go("/")
    window.page.locator("#filter").fill("libr")
    window.page.locator(".filter button").click()
    assert window.page.locator("#results tbody tr").count() == 1
    window.page.locator("thead a", has_text="Repository").click()
    assert "sort=name" in window.path
    window.page.locator("footer button", has_text="Read again").click()
    assert "sort=name" in window.path
    window.go("/r/team/app/_tags/v1")
    paths = window.page.locator("main .path").first
    assert not paths.is_visible()
    window.page.locator("footer button", has_text="Show paths").click()
    paths.wait_for()
    window.page.locator("summary").click()
    assert window.page.locator("pre").is_visible()
    window.page.locator("#search").fill("team")
    window.page.locator(".search button").click()
    assert window.page.locator("main a[href='/r/team/app']").count() >= 1


def test_a_page_that_waits_comes_by_itself(
    visit: Open, tree: TreeBuilder, monkeypatch: pytest.MonkeyPatch
) -> None:
    gate = threading.Event()

    def slow(*args: Any, **options: Any) -> Any:
        gate.wait(60)
        return scan(*args, **options)

    monkeypatch.setattr(snapshots, "scan", slow)
    with hosted(tree.root, limits=Limits()) as url:
        for script in (True, False):
            window = visit(url, java_script_enabled=script)
            window.go("/")
            if script:
                assert window.page.locator("h1").inner_text() == "The tree is being read"
                gate.set()
            window.page.locator("#results").wait_for()


# -- many, and evil ------------------------------------------------------------------------------


def test_ten_thousand_tags_come_page_by_page(visit: Open, tmp_path: Path) -> None:
    tree = TreeBuilder(tmp_path / "registry")
    digest = tree.push("many", "t00000")
    for number in range(1, 10_000):
        folder = tree.tag_folder("many", f"t{number:05}") / "current"
        folder.mkdir(parents=True)
        (folder / "link").write_text(digest)
    with hosted(tree.root) as url:
        window = visit(url)
        window.go("/r/many")
        window.page.locator("#results").wait_for()
        rows = window.page.locator("#results tbody tr")
        assert rows.count() == 100
        assert "100 of 10,000" in window.page.locator("nav.pages").inner_text()
        window.page.locator("a[rel=next]").click()
        window.page.wait_for_url("**page=2")
        assert "200 of 10,000" in window.page.locator("nav.pages").inner_text()
        window.go("/r/many?page=100")
        assert window.page.locator("a[rel=next]").count() == 0
        assert rows.count() == 100
        window.page.locator("#filter").press_sequentially("t0999")
        window.page.wait_for_url("**q=t0999*")
        assert rows.count() == 10


EVIL = "<script>window.pwned=1</script>\"'><img src=x onerror=window.pwned=1>\u202egpj"
EVIL_NAMES = (
    b"caf\xe9",
    b"<img src=x onerror=window.pwned=1>",
    "turned\u202ename".encode(),
    b"%3Cscript%3Ealert(1)%3C",
    b"javascript:alert(1)",
)


def test_nothing_of_a_hostile_tree_runs_and_all_of_it_is_shown(visit: Open, tmp_path: Path) -> None:
    tree = TreeBuilder(tmp_path / "registry")
    config = {
        "author": EVIL,
        "architecture": EVIL,
        "config": {"Labels": {EVIL: EVIL}, "Env": [EVIL], "Cmd": [EVIL], "User": EVIL},
        "history": [{"created_by": EVIL}],
    }
    evil = image(["x"], config, annotations={EVIL: EVIL})
    folders = os.fsencode(tree.v2) + b"/repositories/"
    for name in EVIL_NAMES:
        tree.push("app", "v1", evil)
        tags = os.fsencode(tree.tag_folder("app", "v1").parent) + b"/"
        os.rename(tags + b"v1", tags + b"<b onmouseover=window.pwned=1>\xff")
        os.rename(folders + b"app", folders + name)
    with hosted(tree.root) as url:
        window = visit(url)
        for number in range(len(EVIL_NAMES)):
            window.go("/?sort=name")
            window.page.locator("#results tbody a").nth(number).click()
            assert window.page.locator("h1").count() == 1
            assert "onmouseover=window.pwned=1>\\xff" in window.page.locator("main").inner_text()
            window.page.locator("#results tbody a").first.click()
            shown = window.page.locator("main").inner_text()
            assert "<script>window.pwned=1</script>" in shown
            assert "\\u202egpj" in shown
            assert "\u202e" not in window.page.content()
            assert window.page.evaluate("() => window.pwned") is None
            window.page.locator("summary").click()
            assert window.page.locator("pre").is_visible()
        for path in ("/usage?by=tag", "/reuse", "/findings", "/gc", "/search?q=b"):
            window.go(path)
            assert window.page.evaluate("() => window.pwned") is None


def test_the_policy_of_a_page_stops_what_escaping_would_have_let_through(
    visit: Open, url: str
) -> None:
    window = visit(url)
    window.go("/")
    inject = """() => {
        const one = document.createElement("script");
        one.textContent = "window.pwned = 1";
        document.body.append(one);
        return window.pwned === undefined;
    }"""
    assert window.page.evaluate(inject)
    assert any("Content Security Policy" in said for said in window.wrong)
    window.wrong.clear()
