"""Images on which qemu-img and we agree about the totals and disagree about the image.

`FOUND_BY_US`: qemu-img sees nothing of the finding. `REFUSED_BY_QEMU`: it gives no totals at all,
where we say what is wrong and go on with the rest. Both by the code of our finding.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

from tests.builder.spec import (
    AUTOCLEAR_BITMAPS,
    BitmapSpec,
    SnapshotSpec,
)
from tests.builder.std import std_image

Maker = Callable[[Path], Path]

EXAMPLES = Path(__file__).resolve().parents[2] / "examples"
COPIED = 1 << 63
MONDAY = SnapshotSpec("1", "monday")


def example(name: str) -> Maker:
    """One of the sample images."""
    return lambda folder: Path(shutil.copy(EXAMPLES / name, folder))


def poked(offset: int, value: int, width: int = 8, **changes: object) -> Maker:
    """The standard image, with an integer overwritten."""

    def make(folder: Path) -> Path:
        image = std_image(**changes)
        image.poke(offset, value, width)
        return image.write_to(folder / "image.qcow2")

    return make


def changed(**changes: object) -> Maker:
    """The standard image, with fields of its spec changed."""
    return lambda folder: std_image(**changes).write_to(folder / "image.qcow2")


def entry(raw: int, **changes: object) -> Maker:
    """The standard image, with the L2 entry of guest cluster 1 overwritten."""

    def make(folder: Path) -> Path:
        image = std_image(**changes)
        image.set_l2(0, 1, raw)
        return image.write_to(folder / "image.qcow2")

    return make


def record(at: int, value: int, width: int = 8) -> Maker:
    """The standard image with a snapshot, of whose record an integer is overwritten."""

    def make(folder: Path) -> Path:
        image = std_image(snapshots=(MONDAY,))
        image.poke(image.places.snapshot_records[0] + at, value, width)
        return image.write_to(folder / "image.qcow2")

    return make


def bitmap(at: int, value: int, width: int = 4) -> Maker:
    """The standard image with a bitmap, of whose directory entry an integer is overwritten."""

    def make(folder: Path) -> Path:
        image = std_image(bitmaps=(BitmapSpec("changes"),))
        image.poke(image.places.bitmaps[0].record + at, value, width)
        return image.write_to(folder / "image.qcow2")

    return make


def without_l1(folder: Path) -> Path:
    """The standard image, cut off before its L1 table: the whole disk reads as zeros."""
    image = std_image()
    image.truncate(image.active.l1)
    return image.write_to(folder / "image.qcow2")


def high_refcount(folder: Path) -> Path:
    """The standard image, with a refcount for the cluster after the last."""
    image = std_image()
    image.set_refcount(8, 1)
    return image.write_to(folder / "image.qcow2")


def new_table(folder: Path) -> Path:
    """A disk whose first L2 table was just made, and a cluster that its writer had taken."""
    image = std_image(content={}, extra_l2=frozenset({0}))
    end = len(image.data)
    image.truncate(end + image.spec.cluster_size)
    image.data.write(end, b"data of a guest")
    image.set_refcount(end // image.spec.cluster_size, 1)
    return image.write_to(folder / "image.qcow2")


FOUND_BY_US: dict[str, Maker] = {
    "cluster.shared": example("shared.qcow2"),
    "l2.wiped": example("wiped-l2.qcow2"),
    "l2.empty": new_table,
    "leak.orphan-table": example("snapshot-table.qcow2"),
    "l2.stream": example("compressed.qcow2"),
    "file.truncated": example("truncated.qcow2"),
    "table.beyond-end": without_l1,
    "refcount.beyond-end": high_refcount,
    "snapshot.lost-table": poked(60, 0, 4, snapshots=(MONDAY,)),
    "snapshot.record": record(12, 0, 2),
    "snapshot.disk-size": record(48, 1 << 50),
    "snapshot.duplicate-id": changed(snapshots=(MONDAY, SnapshotSpec("1", "tuesday"))),
    "snapshot.duplicate-name": changed(snapshots=(MONDAY, SnapshotSpec("2", "monday"))),
    "l2.zero-v2": entry(1, version=2, feature_table=False),
    "l2.data-file-offset": entry(COPIED | 0x50000, data_file="disk.raw"),
    "l2.beyond-size": poked(24, 128 << 10),
    "l2.copied-no-offset": entry(COPIED),
    "l2.bit0-extended": entry(COPIED | 0x60001, extended_l2=True),
    "header.dirty": changed(incompatible=1),
    "header.corrupt-flag": changed(incompatible=2),
    "header.autoclear": changed(autoclear=1 << 40),
    "header.oddity": changed(autoclear=AUTOCLEAR_BITMAPS),
    "header.padding": poked(105, 1, 1),
    "bitmap.in-use": bitmap(12, 1),
    "bitmap.not-valid": poked(88, 0, bitmaps=(BitmapSpec("changes"),)),
}
NEEDS_DEEP = frozenset({"l2.stream"})

REFUSED_BY_QEMU: dict[str, Maker] = {
    "header.length": poked(100, 96, 4),
    "header.backing-offset": poked(8, 1 << 32),
    "header.backing-name": poked(16, 1024, 4, backing_name="x" * 8),
    "header.compression-type": poked(104, 1, 1),
    "header.extended-l2": poked(72, 1 << 4, cluster_bits=12, feature_table=False),
    "header.refcount-order": poked(96, 7, 4),
    "header.refcount-table": poked(48, 0x10200),
    "header.l1-table": poked(40, 0x30200),
    "header.virtual-size": poked(24, 1 << 63),
    "header.crypt-method": poked(32, 3, 4),
    "header.raw-data-file": changed(autoclear=2),
    "header.extension": poked(116, 1 << 30, 4),
    "header.data-file-name": changed(incompatible=4),
    "snapshot.table": poked(64, 0x10200),
    "bitmap.directory": bitmap(12, 8),
    "bitmap.table": bitmap(0, 0x200, 8),
    "bitmap.extra-data-flag": bitmap(12, 4),
    "backing.missing": changed(backing_name="no-such.qcow2", backing_format="qcow2"),
}
