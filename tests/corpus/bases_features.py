"""Bases with a feature beside the tables: subclusters, bitmaps, keys, other files."""

from __future__ import annotations

import random
from pathlib import Path

from tests.corpus import qemu
from tests.corpus.base import MIB, BaseRegister, Recipe, plain

base = BaseRegister()


def extended(size: int, cluster: int, count: int) -> Recipe:
    """Extended L2 entries: requests of the size of subclusters."""

    def recipe(path: Path, rng: random.Random) -> None:
        qemu.create(path, size, cluster_size=cluster, extended_l2="on")
        qemu.io(path, qemu.churn(rng, size, cluster, count))
        qemu.io(path, qemu.churn(rng, size // 2, cluster // 8, count))

    return recipe


base("extended-64k", "extended L2 entries", "extended")(extended(32 * MIB, 65536, 25))
base(
    "extended-16k", "extended L2 entries in the smallest clusters they allow", "extended multi-l2"
)(extended(64 * MIB, 16384, 30))


@base(
    "extended-snapshots",
    "extended L2 entries, compressed clusters, a backing file, a snapshot",
    "extended compressed snapshots",
)
def _extended_snapshots(path: Path, rng: random.Random) -> None:
    back = path.with_name("back.raw")
    back.write_bytes(qemu.content(rng, 4 * MIB, 65536))
    _overlay(path, back, "raw", cluster_size=16384, extended_l2="on")
    starts = rng.sample(range(0, 4 * MIB, 16384), 8)
    compressed = [f"write -c -P {start % 251} {start} 16384" for start in starts]
    qemu.io(path, compressed + qemu.churn(rng, 4 * MIB, 16384, 20))
    qemu.img("snapshot", "-c", "one", path)
    qemu.io(path, qemu.churn(rng, 4 * MIB, 2048, 20))


def _overlay(path: Path, back: Path, kind: str, **options: str | int) -> None:
    """Create `path` over a backing file beside it, stored by its bare name."""
    qemu.create(path, 4 * MIB, backing_file=back.name, backing_fmt=kind, **options)


@base("backing", "an overlay over another qcow2 image", "")
def _backing(path: Path, rng: random.Random) -> None:
    back = path.with_name("back.qcow2")
    plain(4 * MIB, 65536, 20)(back, rng)
    _overlay(path, back, "qcow2")
    qemu.io(path, qemu.churn(rng, 4 * MIB, 65536, 15))


@base("backing-v2", "a version 2 overlay over a raw disk", "v2 multi-l2")
def _backing_v2(path: Path, rng: random.Random) -> None:
    back = path.with_name("back.raw")
    back.write_bytes(qemu.content(rng, 4 * MIB, 65536))
    _overlay(path, back, "raw", cluster_size=4096, compat="0.10")
    qemu.io(path, qemu.churn(rng, 4 * MIB, 4096, 30))


def bitmaps(size: int, cluster: int, granularity: tuple[int, ...]) -> Recipe:
    """Persistent bitmaps of these granularities in bytes, then writes that set their bits."""

    def recipe(path: Path, rng: random.Random) -> None:
        qemu.create(path, size, cluster_size=cluster)
        qemu.io(path, qemu.churn(rng, size, cluster, 15))
        for number, grain in enumerate(granularity):
            qemu.img("bitmap", "--add", "-g", str(grain), "-f", "qcow2", path, f"map-{number}")
            qemu.io(path, qemu.churn(rng, size, cluster, 10))

    return recipe


base("bitmaps-64k", "two bitmaps", "bitmaps")(bitmaps(64 * MIB, 65536, (65536, 512)))
base("bitmaps-4k", "three bitmaps with larger tables", "bitmaps multi-l2")(
    bitmaps(32 * MIB, 4096, (512, 4096, 512))
)


@base(
    "bitmaps-snapshots",
    "bitmaps and snapshots in the smallest clusters",
    "bitmaps snapshots multi-l2",
)
def _bitmaps_snapshots(path: Path, rng: random.Random) -> None:
    bitmaps(MIB, 512, (512, 1024))(path, rng)
    qemu.img("snapshot", "-c", "one", path)
    qemu.io(path, qemu.churn(rng, MIB, 512, 15))


@base("bitmaps-in-use", "killed while a bitmap was in use", "bitmaps")
def _bitmaps_in_use(path: Path, rng: random.Random) -> None:
    bitmaps(32 * MIB, 65536, (512, 65536))(path, rng)
    commands = qemu.churn(rng, 32 * MIB, 65536, 8)
    qemu.io(path, [*commands, "flush"], killed=True)


def lazy(size: int, cluster: int) -> Recipe:
    """Lazy refcounts and a process killed between writes: refcounts on disk lag behind."""

    def recipe(path: Path, rng: random.Random) -> None:
        qemu.create(path, size, cluster_size=cluster, lazy_refcounts="on")
        qemu.io(path, qemu.churn(rng, size, cluster, 15))
        more = qemu.churn(rng, size, cluster, 30)
        qemu.io(path, [*more, "flush", *qemu.churn(rng, size, cluster, 4)], killed=True)

    return recipe


base("lazy-64k", "lazy refcounts, killed: the dirty bit is set", "", unclean=True)(
    lazy(64 * MIB, 65536)
)
base("lazy-4k", "lazy refcounts, killed, in small clusters", "multi-l2", unclean=True)(
    lazy(8 * MIB, 4096)
)


@base("killed", "killed after the caches had written out some tables and not others", "multi-l2")
def _killed(path: Path, rng: random.Random) -> None:
    qemu.create(path, 2 * MIB, cluster_size=512)
    # A new L2 table makes QEMU write all tables out, so every one exists beforehand.
    qemu.io(path, [f"write -P 3 {start}k 512" for start in range(0, 2048, 32)])
    qemu.io(path, qemu.churn(rng, 2 * MIB, 512, 60), killed=True, small_caches=True)


def encrypted(size: int, cluster: int, method: str) -> Recipe:
    """An encrypted image with random requests."""

    def recipe(path: Path, rng: random.Random) -> None:
        qemu.create_encrypted(path, size, method)
        qemu.io(path, qemu.churn(rng, size, cluster, 20), encrypted=True)

    return recipe


base("luks", "encrypted with LUKS: its header claims clusters", "luks", encrypted=True)(
    encrypted(16 * MIB, 65536, "luks")
)
base("aes", "encrypted in the way of QEMU before LUKS", "", encrypted=True)(
    encrypted(16 * MIB, 65536, "aes")
)


@base("luks-snapshots", "LUKS with snapshots", "luks snapshots", encrypted=True)
def _luks_snapshots(path: Path, rng: random.Random) -> None:
    encrypted(8 * MIB, 65536, "luks")(path, rng)
    name = f"driver=qcow2,encrypt.key-secret=s,file.filename={path}"
    qemu.img("snapshot", *qemu.SECRET, "--image-opts", "-c", "one", name)
    qemu.io(path, qemu.churn(rng, 8 * MIB, 65536, 10), encrypted=True)


def with_data_file(size: int, cluster: int, raw: str) -> Recipe:
    """Guest data in `data.raw` beside the image, stored by its bare name."""

    def recipe(path: Path, rng: random.Random) -> None:
        qemu.create(path, size, cluster_size=cluster, data_file="data.raw", data_file_raw=raw)
        qemu.io(path, qemu.churn(rng, size, cluster, 20))

    return recipe


base("data-file", "guest data in a file of its own", "data-file")(
    with_data_file(16 * MIB, 65536, "off")
)
base("data-file-raw", "the data file is a plain disk image", "data-file")(
    with_data_file(8 * MIB, 65536, "on")
)
base("data-file-4k", "data file and several L2 tables", "data-file multi-l2")(
    with_data_file(6 * MIB, 4096, "off")
)
