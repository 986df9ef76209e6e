"""Every row of the table: what regfs does, what it is measured against, and what both must find."""

from __future__ import annotations

import json
import os
import shlex
from collections.abc import Callable
from functools import partial
from pathlib import Path

from tests.benchmarks.inside import cat_sides, find_sides, index_sides, listing_sides
from tests.benchmarks.measuring import PYTHON, Bench, Case, Json, Side, run
from tests.benchmarks.treemaker import repository_name

REGFS = [PYTHON, "-m", "regfs"]
PLAN = ["gc", "plan", "--offline"]
REFERENCE = ["docker-registry", "garbage-collect", "--dry-run"]
UNTAGGED = "--delete-untagged"
BARE_PYTHON = Side("python -c pass", [PYTHON, "-c", "pass"])


def scan_sides(bench: Bench, root: Path) -> tuple[Side, Side]:
    """Scan against the bare loop; timed inside the process, without imports."""
    command = [PYTHON, "-m", "tests.benchmarks.listing"]

    def answer(output: Path) -> Json:
        found: Json = json.loads(output.read_text())["counts"]
        return found

    return (
        Side("scan", [*command, "regfs", str(root)], answer, timed_inside=True),
        Side("listdir+stat loop", [*command, "loop", str(root)], answer, timed_inside=True),
    )


def plan_sides(bench: Bench, root: Path, *options: str) -> tuple[Side, Side]:
    """Plan a collection with regfs and with the reference registry."""
    written = bench.scratch / "plan.json"
    config = bench.scratch / "config.yml"
    storage = {"filesystem": {"rootdirectory": str(root)}, "delete": {"enabled": True}}
    # JSON is YAML, so nothing has to be quoted by hand.
    config.write_text(json.dumps({"version": "0.1", "log": {"level": "error"}, "storage": storage}))

    def plan_answer(output: Path) -> Json:
        # In another process: the memory it takes would show in every later figure.
        reader = "import json, sys; print(json.load(open(sys.argv[1]))['totals']['blobs'])"
        run([PYTHON, "-c", reader, str(written)], output)
        return {"blobs": int(output.read_text())}

    plan = [*REGFS, "-r", str(root), *PLAN, *options, "-o", str(written)]
    return (
        Side("gc plan", plan, plan_answer),
        Side("docker-registry", [*REFERENCE, *options, str(config)], reference_answer),
    )


def limit_sides(bench: Bench, root: Path) -> tuple[Side, Side]:
    """Plan, against the bare loop in two processes that reads the same."""
    plan, _ = plan_sides(bench, root)
    loop = [PYTHON, "-m", "tests.benchmarks.planning", str(root)]
    return Side(plan.label, plan.command), Side("loop in two processes", loop)


def reference_answer(output: Path) -> Json:
    """Find the line `N blobs marked, M blobs and K manifests eligible for deletion`."""
    with output.open(encoding="utf-8", errors="replace") as lines:
        for line in lines:
            if " blobs marked, " in line:
                return {"blobs": int(line.partition(", ")[2].partition(" ")[0])}
    raise ValueError("no totals")


def untagged_sides(bench: Bench, root: Path) -> tuple[Side, Side]:
    """As `plan_sides`, with untagged manifests going as well."""
    return plan_sides(bench, root, UNTAGGED)


def moving_side(root: Path, side: str, what: str, label: str) -> Side:
    """Move what goes out of a tree, or back; timed inside, for the tree is made whole again."""

    def answer(output: Path) -> Json:
        return {"moved": json.loads(output.read_text())["moved"]}

    command = [PYTHON, "-m", "tests.benchmarks.moving", side, what, str(root)]
    return Side(label, command, answer, timed_inside=True)


def moving_sides(bench: Bench, root: Path, what: str) -> tuple[Side, Side]:
    """Move blobs and links into quarantine or back, against the bare loop."""
    regfs = moving_side(root, "regfs", what, f"gc {what}")
    return regfs, moving_side(root, "loop", what, "rename loop")


def collecting_sides(bench: Bench, root: Path) -> tuple[Side, Side]:
    """Plan and carry out in one step, against the plan alone."""

    def plan_answer(output: Path) -> Json:
        totals: Json = json.loads(output.read_text())["totals"]
        return {"moved": totals["blobs"] + totals["layer_links"]}

    plan = [*REGFS, "-r", str(root), *PLAN, "--json"]
    return moving_side(root, "regfs", "run", "gc run"), Side("gc plan", plan, plan_answer)


def links_sides(bench: Bench, root: Path) -> tuple[Side, Side]:
    """Check the layout and every link, against naming all files and reading none."""

    def verify_answer(output: Path) -> Json:
        document: Json = json.loads(output.read_text())
        return {"links": document["checked"]["links"] if not document["findings"] else "damaged"}

    def find_answer(output: Path) -> Json:
        with output.open("rb") as lines:
            return {"links": sum(line.endswith(b"/link\n") for line in lines)}

    verify = [*REGFS, "-r", str(root), "verify", "--level", "links", "--json"]
    return Side("verify links", verify, verify_answer), Side(
        "find", ["find", str(root)], find_answer
    )


def du_sides(bench: Bench, root: Path) -> tuple[Side, Side]:
    """Measure a whole tree, against a walk that measures the same and knows no registry."""

    def du_answer(output: Path) -> Json:
        return {"files": json.loads(output.read_text())["disk"]["total"]["files"]}

    def walk_answer(output: Path) -> Json:
        return {"files": json.loads(output.read_text())["files"]}

    du = [*REGFS, "-r", str(root), "du", "--json"]
    walk = [PYTHON, "-m", "tests.benchmarks.walking", str(root)]
    return Side("du", du, du_answer), Side("scandir+lstat walk", walk, walk_answer)


def report_sides(bench: Bench, root: Path, report: str) -> tuple[Side, Side]:
    """Make one report, against the plan of a collection."""
    plan, _ = plan_sides(bench, root)
    command = [*REGFS, "-r", str(root), report, "--json"]
    return Side(report, command), Side(plan.label, plan.command)


def sizes_sides(bench: Bench, root: Path) -> tuple[Side, Side]:
    """Check every size, against naming all files and reading none."""
    find = ["find", str(root), "-name", "data"]
    return verify_side(root, "sizes"), Side("find", find, lines_answer)


def tar_of(bench: Bench, root: Path) -> Path:
    """Return a tar of a tree, made once."""
    archive = bench.scratch / f"{root.name}.tar"
    if not archive.exists():
        run(["tar", "-C", str(root), "-cf", str(archive), "docker"], bench.scratch / "tar")
    return archive


def tar_small_sides(bench: Bench, root: Path) -> tuple[Side, Side]:
    """List a tar of small files as it passes and hash its blobs, against `tarfile`."""
    command = [PYTHON, "-m", "tests.benchmarks.archives"]
    archive = str(tar_of(bench, root))

    def answer(output: Path) -> Json:
        return {"blobs": json.loads(output.read_text())["blobs"]}

    return (
        Side("one pass", [*command, "regfs", archive], answer, timed_inside=True),
        Side("tarfile", [*command, "tarfile", archive], answer, timed_inside=True),
    )


def tar_large_sides(bench: Bench, root: Path) -> tuple[Side, Side]:
    """Verify a tar of large blobs on a pipe, against listing it and hashing it as a whole."""
    archive = shlex.quote(str(tar_of(bench, root)))
    verify = shlex.join([*REGFS, "-r", "-", "verify", "--json"])
    other = f"tar -tf {archive} | grep -c /data$; openssl dgst -sha256 {archive} > /dev/null"

    def answer(output: Path) -> Json:
        document: Json = json.loads(output.read_text())
        return {"blobs": "damaged" if document["findings"] else document["checked"]["blobs"]}

    return (
        Side("verify", ["sh", "-c", f"cat {archive} | {verify}"], answer),
        Side("tar -t, openssl", ["sh", "-c", other], lambda o: {"blobs": int(o.read_text())}),
    )


def diff_sides(bench: Bench, root: Path) -> tuple[Side, Side]:
    """Compare two images of 20 layers, of which they share 15, against unpacking both."""
    images = [f"{repository_name(0)}:{tag}" for tag in ("latest", "v1")]

    def diff_answer(output: Path) -> Json:
        return {"changed": len(json.loads(output.read_text())["images"][0]["files"]["changes"])}

    def unpacked_answer(output: Path) -> Json:
        return {"changed": output.read_text().count(" differ\n")}

    diff = [*REGFS, "-r", str(root), "diff", "--json", "--no-cache", *images]
    unpack = [PYTHON, "-m", "tests.benchmarks.comparing", str(root), str(bench.scratch), *images]
    return Side("diff", diff, diff_answer), Side("tar -xzf, diff -rq", unpack, unpacked_answer)


def version_sides(bench: Bench, root: Path) -> tuple[Side, Side]:
    """Start and say a version, against a Python that does nothing."""
    return Side("--version", [*REGFS, "--version"]), BARE_PYTHON


def ls_sides(bench: Bench, root: Path) -> tuple[Side, Side]:
    """List a handful of repositories, against a Python that does nothing."""
    return Side("ls", [*REGFS, "-r", str(root), "ls"]), BARE_PYTHON


def each_file(root: Path, command: list[str], files: int, *tests: str) -> list[str]:
    """Return a command that runs another one on the blobs of a tree, so many at once."""
    find = shlex.join(["find", str(root), "-name", "data", *tests, "-print0"])
    spread = shlex.join(["xargs", "-0", "-P", str(os.cpu_count() or 1), "-n", str(files)])
    return ["sh", "-c", f"{find} | {spread} {shlex.join(command)}"]


def lines_answer(output: Path) -> Json:
    """Count the blobs that one line each was printed of."""
    with output.open("rb") as lines:
        return {"blobs": sum(1 for _ in lines)}


def hash_large_sides(bench: Bench, root: Path) -> tuple[Side, Side]:
    """Verify large blobs, against as many openssl as there are processors."""
    openssl = each_file(root, ["openssl", "dgst", "-sha256"], 1)
    return verify_side(root, "digests"), Side("openssl dgst", openssl, lines_answer)


def hash_small_sides(bench: Bench, root: Path) -> tuple[Side, Side]:
    """Hash many small blobs, against as many sha256sum as there are processors."""
    command = [PYTHON, "-m", "tests.benchmarks.hashing", str(root)]

    def answer(output: Path) -> Json:
        found: Json = json.loads(output.read_text())
        return found if found["problems"] else {"blobs": found["blobs"]}

    sha256sum = each_file(root, ["sha256sum"], 500)
    return Side("hash_all", command, answer), Side("xargs sha256sum", sha256sum, lines_answer)


def digests_small_sides(bench: Bench, root: Path) -> tuple[Side, Side]:
    """Verify all digests of many small blobs, against as many sha256sum as there are processors."""
    _, sha256sum = hash_small_sides(bench, root)
    return verify_side(root, "digests"), sha256sum


def content_sides(bench: Bench, root: Path) -> tuple[Side, Side]:
    """Unpack and hash layers, against as many zcat | sha256sum as there are processors."""
    unpack = each_file(root, ["sh", "-c", 'zcat "$0" | sha256sum'], 1, "-size", "+64k")
    return verify_side(root, "content", whole), Side("zcat | sha256sum", unpack)


def verify_side(root: Path, level: str, reduce: Callable[[Json], Json] | None = None) -> Side:
    """Verify a tree on one level, as a whole process."""

    def answer(output: Path) -> Json:
        found: Json = json.loads(output.read_text())
        return reduce(found) if reduce else {"blobs": found["checked"]["blobs"]}

    command = [*REGFS, "-r", str(root), "verify", "--level", level, "--json"]
    return Side(f"verify {level}", command, answer)


def whole(found: Json) -> Json:
    """Say nothing of a tree with nothing wrong in it."""
    return {"findings": found["findings"]} if found["findings"] else {}


def stored(summary: Json) -> Json:
    """What hashing must count."""
    return {"blobs": summary["blobs"]}


def listed(summary: Json) -> Json:
    """What listing must count."""
    return {
        "blobs": summary["blobs"],
        "layers": summary["layer_links"],
        "revisions": summary["manifests"],
        "tags": summary["tags"],
        "history": summary["tag_history"],
    }


def links(summary: Json) -> Json:
    """How many links there are."""
    parts = ("layer_links", "manifests", "tags", "tag_history")
    return {"links": sum(summary[part] for part in parts)}


def files(summary: Json) -> Json:
    """How many files there are."""
    return {"files": summary["blobs"] + links(summary)["links"]}


def unreferenced(summary: Json) -> Json:
    """What a plan must find."""
    return {"blobs": summary["unreferenced_blobs"]}


def untagged(summary: Json) -> Json:
    """What a plan must find when untagged manifests go as well."""
    return {"blobs": summary["untagged_blobs"]}


def moved(summary: Json) -> Json:
    """What goes of a tree: each blob nobody names, every second of them with a link."""
    return {"moved": summary["unreferenced_blobs"] + summary["unreferenced_blobs"] // 2}


def one_file(summary: Json) -> Json:
    """What a search for one name must find."""
    return {"files": 1}


def changed(summary: Json) -> Json:
    """What differs between two images: each file of their layers."""
    return {"changed": 1000}


def nothing(summary: Json) -> Json:
    """What is not looked at."""
    return {}


CASES = [
    Case("scan", "usual", scan_sides, listed, runs=5),
    Case("scan-large", "large", scan_sides, listed, runs=3),
    Case("gc", "usual", plan_sides, unreferenced, runs=5),
    Case("gc-limit", "usual", limit_sides, nothing, runs=5),
    Case("gc-tenth", "tenth", plan_sides, unreferenced, runs=5),
    Case("gc-triple", "triple", plan_sides, unreferenced, runs=3),
    Case("gc-large", "large", plan_sides, unreferenced, runs=1),
    Case("gc-untagged", "tags", untagged_sides, untagged, runs=3),
    Case("gc-apply", "garbage", partial(moving_sides, what="apply"), moved, runs=3),
    Case("gc-restore", "garbage", partial(moving_sides, what="restore"), moved, runs=3),
    Case("gc-run", "collected", collecting_sides, moved, runs=3),
    Case("hash-large", "blobs-large", hash_large_sides, stored, runs=5),
    Case("hash-small", "blobs-small", hash_small_sides, stored, runs=5),
    Case("digests-small", "usual", digests_small_sides, stored, runs=5),
    Case("content", "layers", content_sides, nothing, runs=5),
    Case("links", "usual", links_sides, links, runs=5),
    Case("sizes", "usual", sizes_sides, stored, runs=5),
    Case("du", "usual", du_sides, files, runs=5),
    Case("du-large", "large", du_sides, files, runs=1),
    Case("info", "usual", partial(report_sides, report="info"), nothing, runs=5),
    Case("reuse", "usual", partial(report_sides, report="reuse"), nothing, runs=5),
    Case("bases", "usual", partial(report_sides, report="bases"), nothing, runs=5),
    Case("files", "layer", partial(listing_sides, again=False), nothing, runs=3),
    Case("files-again", "layer", partial(listing_sides, again=True), nothing, runs=5),
    Case("files-cat", "layer", cat_sides, nothing, runs=5),
    Case("find", "layers", find_sides, nothing, runs=3),
    Case("find-known", "small", index_sides, one_file, runs=5),
    Case("tar-small", "tenth", tar_small_sides, stored, runs=5),
    Case("tar-large", "blobs-large", tar_large_sides, stored, runs=5),
    Case("diff", "images", diff_sides, changed, runs=5),
    Case("version", "small", version_sides, nothing, runs=15),
    Case("ls", "small", ls_sides, nothing, runs=15),
]
