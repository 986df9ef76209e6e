"""Tags and policies as tests of retention write them, and what is decided."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import UTC, datetime
from typing import Any

from regfs.digest import Digest
from regfs.gc.plan import Plan, plan
from regfs.gc.policy import Policy
from regfs.gc.retention import RetentionPolicy, TagFacts, decide
from tests.support.builder import TreeBuilder
from tests.support.registries import registry_of, scan_and_build

NOW = datetime(2026, 1, 14, 12, tzinfo=UTC).timestamp()
HOUR, DAY = 3600.0, 86400.0
DIGEST = Digest.of(b"an image")


def ago(days: float) -> float:
    return NOW - days * DAY


def policy(*entries: dict[str, Any], **block: Any) -> RetentionPolicy:
    """Return a policy of one block for every repository, with these entries of keepTags."""
    return RetentionPolicy.model_validate(
        {"policies": [{"repositories": ["**"], "keepTags": list(entries), **block}]}
    )


def fact(
    tag: str | None,
    pushed: float | None = NOW,
    created: float | None = None,
    labels: list[dict[str, str]] | None = None,
) -> TagFacts:
    return TagFacts(tag, DIGEST, pushed, lambda: created, lambda: labels)


def days(**ages: float | None) -> list[TagFacts]:
    """Return tags that were pushed so many days ago."""
    return [fact(tag, None if age is None else ago(age)) for tag, age in ages.items()]


def kept(policy: RetentionPolicy, facts: Iterable[TagFacts], name: str = "app") -> set[str]:
    return {str(one.tag) for one in decide(policy, facts, name, NOW) if one.keep}


def reasons(policy: RetentionPolicy, *facts: TagFacts, name: str = "app") -> list[str]:
    return [decision.reason for decision in decide(policy, facts, name, NOW)]


def keep(*patterns: str, **block: Any) -> RetentionPolicy:
    """Return a policy for every repository that keeps the tags of some patterns only."""
    entries = [{"patterns": list(patterns or ["none"]), "mostRecentlyPushedCount": 99}]
    whole = {"repositories": ["**"], "keepTags": entries, **block}
    return RetentionPolicy.model_validate({"policies": [whole]})


def judged(tree: TreeBuilder, retention: RetentionPolicy, **policy: Any) -> Plan:
    """Plan by a policy that may read configs."""
    inventory, graph = scan_and_build(tree)
    read = registry_of(tree).manifest_bytes
    now = policy.pop("now", inventory.taken_at)
    return plan(graph, Policy(retention=retention, **policy), now, read)


def tags_of(planned: Plan) -> set[str]:
    """Return NAME:TAG of each tag that goes."""
    paths = (one.path.split("/repositories/")[1] for one in planned.actions if one.kind == "tag")
    return {path.replace("/_manifests/tags/", ":") for path in paths}


def reason(planned: Plan, tag: str) -> str:
    (found,) = [one.reason for one in planned.decisions if one.tag == tag]
    return found
