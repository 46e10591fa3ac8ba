#!/usr/bin/env python3
"""Make the sample images of this folder again, with qemu-img, qemu-io and a few overwritten bytes.

    python examples/make.py [FOLDER]        all of them, into FOLDER (default: beside this file)

Imports nothing of qcow2_dump, so that the images cannot share a mistake with the program that
they show. Every integer of the format is big-endian; offsets are bytes.
"""

import os
import subprocess
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path

CLUSTER = 4096
OFFSET = 0x00FF_FFFF_FFFF_FE00
COPIED = 1 << 63
KIB = 1024
MIB = 1024 * KIB
# Snapshots carry the time of their making; a fixed one makes every run give the same bytes.
MONDAY = 1704096000  # 2024-01-01 08:00 UTC

Maker = Callable[[Path], None]
MAKERS: dict[str, Maker] = {}


def sample(maker: Maker) -> Maker:
    """Register the maker of the image that is named like it."""
    MAKERS[maker.__name__.replace("_", "-") + ".qcow2"] = maker
    return maker


class Patch:
    """An image whose integers are read and overwritten, and whose active tables are looked up."""

    def __init__(self, path: Path) -> None:
        self._file = path.open("r+b", buffering=0)

    def __enter__(self) -> "Patch":
        return self

    def __exit__(self, *_: object) -> None:
        self._file.close()

    def get(self, offset: int, width: int = 8) -> int:
        """The integer of ``width`` bytes at ``offset``."""
        return int.from_bytes(os.pread(self._file.fileno(), width, offset), "big")

    def put(self, offset: int, value: int, width: int = 8) -> None:
        """Overwrite ``width`` bytes at ``offset``."""
        os.pwrite(self._file.fileno(), value.to_bytes(width, "big"), offset)

    def l2_table(self, guest: int) -> int:
        """The file offset of the active L2 table for a guest offset."""
        size = self.cluster_size
        entry = self.get(40) + guest // (size * size // 8) * 8
        return self.get(entry) & OFFSET

    def l2_entry(self, guest: int) -> int:
        """The file offset of the active L2 entry for a guest offset."""
        size = self.cluster_size
        return self.l2_table(guest) + guest // size % (size // 8) * 8

    def refcount(self, host: int) -> int:
        """The file offset of the refcount of the cluster at ``host``, in the first block."""
        width = (1 << self.get(96, 4)) // 8
        return self.get(self.get(48)) + host // self.cluster_size * width

    @property
    def cluster_size(self) -> int:
        return 1 << self.get(20, 4)

    @property
    def snapshots(self) -> int:
        """The file offset of the first snapshot record."""
        return self.get(64)


def run(*arguments: str | Path) -> None:
    """Run one of the QEMU tools. Raises CalledProcessError when it fails."""
    words = [str(argument) for argument in arguments]
    subprocess.run(words, check=True, stdout=subprocess.DEVNULL)  # noqa: S603 (our own words)


def create(path: Path, size: str = "64M", **options: object) -> None:
    """Make an empty image of 4 KiB clusters unless ``options`` say otherwise."""
    chosen = {"cluster_size": CLUSTER, **options}
    words = ",".join(f"{key}={value}" for key, value in chosen.items())
    run("qemu-img", "create", "-q", "-f", "qcow2", "-o", words, path, size)


def write(path: Path, *commands: str) -> None:
    """Let qemu-io write into the guest's disk."""
    run("qemu-io", "-f", "qcow2", *(word for line in commands for word in ("-c", line)), path)


def snapshot(path: Path, name: str) -> None:
    """Take a snapshot, and give all of them the dates of the examples, a day apart."""
    run("qemu-img", "snapshot", "-c", name, path)
    with Patch(path) as image:
        record = image.snapshots
        for number in range(image.get(60, 4)):
            image.put(record + 16, MONDAY + number * 86400, 4)
            image.put(record + 20, 0, 4)
            length = 40 + sum(image.get(record + at, w) for at, w in ((12, 2), (14, 2), (36, 4)))
            record += (length + 7) // 8 * 8


@sample
def sound(path: Path) -> None:
    """Two snapshots, a bitmap, some zeroed and discarded clusters."""
    create(path)
    write(path, "write -P 1 0 64k", "write -P 2 6M 32k")
    snapshot(path, "monday")
    write(path, "write -P 3 16k 16k", "write -z 6M 8k")
    snapshot(path, "tuesday")
    run("qemu-img", "bitmap", "--add", "-g", "64k", path, "since-tuesday")
    write(path, "write -P 4 40k 8k", "discard 6152k 8k")


@sample
def damaged_l2(path: Path) -> None:
    """Bad entries of five kinds, in a table of the active layer and in one shared by a snapshot."""
    create(path)
    write(path, "write -P 1 0 64k", "write -P 2 6M 64k")
    snapshot(path, "monday")
    write(path, "write -P 3 0 32k", "write -P 4 12M 16k")
    with Patch(path) as image:
        shared = image.l2_entry(6 * MIB)
        image.put(shared + 3 * 8, image.get(shared + 3 * 8) + 0x200)
        image.put(shared + 4 * 8, 0x7F000000)
        image.put(shared + 5 * 8, 0x7F001000)
        own = image.l2_entry(0)
        image.put(own + 2 * 8, image.get(own + 2 * 8) | 1 << 57)
        image.put(own + 5 * 8, image.get(own + 5 * 8) & ~COPIED)
        # The entry is gone, and with it the guest's way to data that is still in the file.
        image.put(image.l2_entry(12 * MIB), 0)


@sample
def wiped_l2(path: Path) -> None:
    """An L2 table overwritten with zeros: its data is in the file, but nothing refers to it."""
    create(path)
    write(path, "write -P 1 0 96k", "write -P 2 2M 64k", "write -P 3 4M 32k")
    with Patch(path) as image:
        table = image.l2_table(2 * MIB)
        for entry in range(table, table + CLUSTER, 8):
            image.put(entry, 0)


@sample
def leaks(path: Path) -> None:
    """Clusters that a writer had taken when it died, before it used them."""
    create(path)
    write(path, "write -P 1 0 64k", "write -P 2 2M 32k")
    end = (path.stat().st_size + CLUSTER - 1) // CLUSTER * CLUSTER
    with Patch(path) as image:
        for host in range(end, end + 6 * CLUSTER, CLUSTER):
            image.put(image.refcount(host), 1, 2)
    os.truncate(path, end + 6 * CLUSTER)


@sample
def shared(path: Path) -> None:
    """Two L2 entries on the L1 table and on other data, with refcounts that account for it."""
    create(path)
    write(path, "write -P 1 0 64k", "write -P 2 2M 32k")
    with Patch(path) as image:
        other = image.get(image.l2_entry(2 * MIB)) & OFFSET
        for number, target in ((3, image.get(40)), (7, other)):
            entry = image.l2_entry(0) + number * 8
            image.put(image.refcount(image.get(entry) & OFFSET), 0, 2)
            image.put(entry, target)
            image.put(image.refcount(target), 2, 2)
        image.put(image.l2_entry(2 * MIB), other)


@sample
def refcounts(path: Path) -> None:
    """A refcount block that nothing points to, and data of a snapshot that counts too little."""
    # 64-bit refcounts in 1 KiB clusters: a block covers 128 KiB, so a small image has two.
    create(path, cluster_size=KIB, refcount_bits=64)
    write(path, "write -P 1 0 64k")
    snapshot(path, "monday")
    write(path, "write -P 2 64k 64k", "write -P 3 0 8k")
    with Patch(path) as image:
        kept = image.get(image.l2_entry(16 * KIB)) & OFFSET
        for host in range(kept, kept + 4 * KIB, KIB):
            image.put(image.refcount(host), 1)
        image.put(image.get(48) + 8, 0)


@sample
def snapshot_table(path: Path) -> None:
    """Two snapshots; the record of the first one names a root table between two clusters."""
    create(path)
    write(path, "write -P 1 0 64k")
    snapshot(path, "monday")
    write(path, "write -P 2 0 32k")
    snapshot(path, "tuesday")
    write(path, "write -P 3 0 16k")
    with Patch(path) as image:
        image.put(image.snapshots, image.get(image.snapshots) + 0x200)


@sample
def compressed(path: Path) -> None:
    """A compressed image; bytes in the middle of one compressed cluster are overwritten."""
    with tempfile.TemporaryDirectory() as folder:
        raw = Path(folder) / "disk.raw"
        lines = [f"{number:6d}: a line of text that a guest may hold" for number in range(4000)]
        raw.write_text("\n".join(lines), encoding="ascii")
        os.truncate(raw, 64 * MIB)
        option = f"cluster_size={CLUSTER}"
        run("qemu-img", "convert", "-c", "-f", "raw", "-O", "qcow2", "-o", option, raw, path)
    with Patch(path) as image:
        # With 4 KiB clusters the low 58 bits of a compressed entry are the offset of its stream.
        stream = image.get(image.l2_entry(40 * KIB)) & (1 << 58) - 1
        image.put(stream + 40, 0xFFFF_FFFF_FFFF_FFFF)


@sample
def truncated(path: Path) -> None:
    """The last 40 KiB of the file are missing, as after a copy onto a full disk."""
    create(path)
    write(path, "write -P 1 0 64k", "write -P 2 2M 64k")
    os.truncate(path, path.stat().st_size - 40 * KIB)


def main() -> None:
    """Make every image."""
    folder = Path(sys.argv[1]) if len(sys.argv) > 1 else Path(__file__).parent
    folder.mkdir(parents=True, exist_ok=True)
    for name, maker in MAKERS.items():
        path = folder / name
        path.unlink(missing_ok=True)
        maker(path)
        sys.stdout.write(f"{path}: {path.stat().st_size // KIB} KiB\n")


if __name__ == "__main__":
    main()
