"""Bases whose clusters are shared: compressed streams and snapshots."""

from __future__ import annotations

import random
from pathlib import Path

from tests.corpus import qemu
from tests.corpus.base import KIB, MIB, BaseRegister, Recipe
from tests.corpus.imagefile import ImageFile
from tests.corpus.layout import Layout

base = BaseRegister()


def converted(size: int, cluster: int, kind: str) -> Recipe:
    """A raw disk of mixed content converted with compression, then partly overwritten."""

    def recipe(path: Path, rng: random.Random) -> None:
        raw = path.with_name("source.raw")
        raw.write_bytes(qemu.content(rng, size, cluster))
        options = f"compression_type={kind},cluster_size={cluster}"
        qemu.img("convert", "-q", "-c", "-f", "raw", "-O", "qcow2", "-o", options, raw, path)
        raw.unlink()
        qemu.io(path, qemu.churn(rng, size, cluster, 6))

    return recipe


base("zlib-64k", "compressed with deflate", "compressed")(converted(4 * MIB, 65536, "zlib"))
base("zlib-4k", "compressed with deflate, several L2 tables", "compressed multi-l2")(
    converted(3 * MIB, 4096, "zlib")
)
base("zlib-512", "compressed with deflate, one sector to a cluster", "compressed multi-l2")(
    converted(256 * KIB, 512, "zlib")
)
base("zstd-64k", "compressed with zstd", "compressed")(converted(4 * MIB, 65536, "zstd"))
base("zstd-2m", "compressed with zstd in the largest cluster", "compressed")(
    converted(16 * MIB, 2 * MIB, "zstd")
)


@base(
    "packed",
    "compressed writes between ordinary ones, and a snapshot",
    "compressed snapshots multi-l2",
)
def _packed(path: Path, rng: random.Random) -> None:
    qemu.create(path, 4 * MIB, cluster_size=4096)
    source = path.with_name("source.raw")
    source.write_bytes(qemu.content(rng, 256 * KIB, 4096))
    # QEMU refuses compressed writes to clusters in use: these stay behind the others and apart.
    starts = iter(rng.sample(range(2 * MIB, 4 * MIB, 32 * KIB), 24))

    def packed() -> list[str]:
        chosen = [next(starts) for _ in range(12)]
        return [f"write -c -s {source} {start} {rng.randint(1, 6) * 4096}" for start in chosen]

    qemu.io(path, packed() + qemu.churn(rng, 2 * MIB, 4096, 20))
    qemu.img("snapshot", "-c", "one", path)
    qemu.io(path, packed() + qemu.churn(rng, 2 * MIB, 4096, 20))
    qemu.io(path, qemu.churn(rng, 4 * MIB, 4096, 5))
    source.unlink()


def snapshots(size: int, cluster: int, count: int, **options: str | int) -> Recipe:
    """`count` snapshots with random requests before, between and after."""

    def recipe(path: Path, rng: random.Random) -> None:
        qemu.create(path, size, cluster_size=cluster, **options)
        for number in range(count):
            qemu.io(path, qemu.churn(rng, size, cluster, 20))
            qemu.img("snapshot", "-c", "state-" + "x" * rng.randrange(20) + str(number), path)
        qemu.io(path, qemu.churn(rng, size, cluster, 12))

    return recipe


base("snapshots-64k", "three snapshots with writes between", "snapshots")(
    snapshots(32 * MIB, 65536, 3)
)
base("snapshots-4k", "five snapshots, several L2 tables", "snapshots multi-l2")(
    snapshots(6 * MIB, 4096, 5)
)
base("snapshots-512", "four snapshots in the smallest clusters", "snapshots multi-l2")(
    snapshots(256 * KIB, 512, 4)
)
base("snapshots-v2", "snapshots of version 2", "v2 snapshots multi-l2")(
    snapshots(4 * MIB, 4096, 3, compat="0.10")
)
base("snapshots-narrow", "as many snapshots as two bits can count", "snapshots")(
    snapshots(16 * MIB, 65536, 2, refcount_bits=2)
)


@base(
    "snapshot-deleted",
    "the middle one of three snapshots deleted, one applied",
    "snapshots multi-l2",
)
def _snapshot_deleted(path: Path, rng: random.Random) -> None:
    snapshots(4 * MIB, 4096, 3)(path, rng)
    names = [line.split()[1] for line in qemu.img("snapshot", "-l", path).splitlines()[2:]]
    qemu.img("snapshot", "-d", names[1], path)
    qemu.img("snapshot", "-a", names[0], path)
    qemu.io(path, qemu.churn(rng, 4 * MIB, 4096, 12))


@base("vm-state", "a snapshot with VM state behind the end of the disk", "snapshots multi-l2")
def _vm_state(path: Path, rng: random.Random) -> None:
    """QEMU stores VM state as guest data behind the disk; so write data there, then cut the size.

    What a running machine would add is put in by hand: sizes in header and record. The active
    tables give the range up, as QEMU does after saving.
    """
    disk, state = 2 * MIB, 600 * KIB
    qemu.create(path, 4 * MIB, cluster_size=4096)
    qemu.io(path, [*qemu.churn(rng, disk, 4096, 30), f"write -P 99 {disk} {state}"])
    qemu.img("snapshot", "-c", "running", path)
    qemu.io(path, [f"discard {disk} {2 * MIB}", *qemu.churn(rng, disk, 4096, 10)])
    record = Layout(path).snapshots[0]
    with ImageFile(path) as image:
        image.put(24, disk)
        image.put(record.offset + 32, state, 4)
        image.put(record.offset + 40, state)
        image.put(record.offset + 48, disk)
