"""Which trees rows are measured on: options of the tree maker."""

from __future__ import annotations

ONE_REPOSITORY = (
    "--manifests 2 --repositories 1 --tags 2 --bases 1 --indexes 0 --unreferenced 0 --untagged 0"
)
GARBAGE = "--manifests 4 --repositories 1 --tags 4 --layers 8 --bases 1 --indexes 0"
TREES = {
    "usual": (
        "--blobs 100000 --manifests 20000 --repositories 100",
        "--blobs 10000 --manifests 2000 --repositories 20",
    ),
    "collected": (
        "--blobs 100000 --manifests 20000 --repositories 100 --seed 2",
        "--blobs 10000 --manifests 2000 --repositories 20 --seed 2",
    ),
    "tenth": (
        "--blobs 10000 --manifests 2000 --repositories 10",
        "--blobs 1000 --manifests 200 --repositories 2",
    ),
    "triple": (
        "--blobs 300000 --manifests 60000 --repositories 300",
        "--blobs 30000 --manifests 6000 --repositories 60",
    ),
    "large": (
        "--blobs 1000000 --manifests 200000 --repositories 1000 --layers 5",
        "--blobs 20000 --manifests 4000 --repositories 20 --layers 5",
    ),
    "tags": ("--one-repository --tags 1000 --layers 8", "--one-repository --tags 100 --layers 8"),
    "garbage": (
        f"--blobs 100000 {GARBAGE} --unreferenced 0.9998",
        f"--blobs 10000 {GARBAGE} --unreferenced 0.998",
    ),
    "blobs-large": (
        f"--blobs 16 {ONE_REPOSITORY} --layers 8 --layer-size 268435456",
        f"--blobs 16 {ONE_REPOSITORY} --layers 8 --layer-size 67108864",
    ),
    "blobs-small": (
        "--blobs 100000 --manifests 4 --repositories 1 --tags 4 --layers 8 "
        "--layer-size 4096 --bases 1 --indexes 0 --unreferenced 0.9998",
        "--blobs 20000 --manifests 4 --repositories 1 --tags 4 --layers 8 "
        "--layer-size 4096 --bases 1 --indexes 0 --unreferenced 0.999",
    ),
    "layers": (
        f"--blobs 16 {ONE_REPOSITORY} --layers 8 --layer-size 10000 --files 5000",
        f"--blobs 16 {ONE_REPOSITORY} --layers 8 --layer-size 10000 --files 1000",
    ),
    "layer": (
        f"--blobs 5 {ONE_REPOSITORY} --layers 1 --layer-size 10000 --files 100000",
        f"--blobs 5 {ONE_REPOSITORY} --layers 1 --layer-size 10000 --files 10000",
    ),
    "images": (
        "--blobs 29 --manifests 2 --repositories 1 --tags 2 --bases 1 --indexes 0 "
        "--unreferenced 0 --untagged 0 --layers 20 --below 15 --layer-size 10000 --files 1000",
    )
    * 2,
    "many-tags": ("--one-repository --tags 10000 --layers 2 --pushes 1",) * 2,
    "repositories": tuple(
        f"--blobs {3 * count} --manifests {count} --repositories {count} --tags 1 --layers 1 "
        "--bases 1 --indexes 0 --unreferenced 0 --untagged 0"
        for count in (100_000, 5_000)
    ),
    "small": ("--blobs 200 --manifests 40 --repositories 4 --tags 5",) * 2,
}
"""Options of the tree maker, in full and for --quick."""
