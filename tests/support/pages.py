"""A small registry for the page, and how tests ask for pages and read them."""

from __future__ import annotations

import re

import requests

from tests.support import exchange
from tests.support.builder import TreeBuilder, artifact, image, index, layer
from tests.support.exchange import Answer

PAGES = ("/", "/usage", "/reuse", "/bases", "/findings", "/gc", "/gc?untagged=1", "/search?q=app")
"""Pages of every registry."""
BASE = layer({"base": b"b" * 5000})


def fill(tree: TreeBuilder) -> TreeBuilder:
    """Write one of everything that a page shows; return the tree."""
    app = image([BASE, "app"], {"config": {"Labels": {"team": "blue"}, "Cmd": ["serve"]}})
    tree.push("library/base", "12", image([BASE]))
    tree.push("team/app", "v1", app)
    tree.push("team/app", "multi", index(app, image(["arm"], platform="linux/arm64")))
    tree.push("team/app", None, artifact([b"signature"], subject=app, artifact_type="a/signature"))
    tree.push("team/app", None, index(app, image(["forgotten"], platform="linux/arm64")))
    tree.upload("team/app", 100)
    return tree


def ask(url: str, path: str = "/", method: str = "GET", **headers: str) -> Answer:
    """Ask for a page, spelled exactly so."""
    return exchange.ask(url, method, path, **headers)


def asked(url: str, path: str) -> Answer:
    """Ask for a page until it is there."""
    while (answer := ask(url, path)).status == 202:
        pass
    return answer


def read_again(url: str, back: str) -> requests.Response:
    """Press the button that reads the tree again."""
    form = {"back": back}
    return requests.post(f"{url}/refresh", form, allow_redirects=False, timeout=60)


def visible(answer: Answer) -> str:
    """Return the text of a page without its markup."""
    return re.sub(r"\s+", " ", re.sub(r"<[^>]*>", " ", answer.text))
