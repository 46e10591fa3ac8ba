"""The builder against the real qemu-img: sound images are clean and read back what was asked."""

import json
import os
import random
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from tests.builder.build import build
from tests.builder.built import BuiltImage
from tests.builder.packing import EXTENSION_CRYPTO
from tests.builder.sound_specs import COMPLETE, EXTENDED, MANY, SOUND_SPECS
from tests.builder.sparse import SparseBytes
from tests.builder.spec import (
    BitmapSpec,
    Compressed,
    Data,
    ImageSpec,
    Layout,
    SnapshotSpec,
    Subclusters,
    ZeroPlain,
)
from tests.builder.std import std_image
from tests.support.qemu import (
    qemu_check,
    qemu_check_encrypted,
    qemu_io,
    qemu_to_raw,
    require_qemu,
    run_tool,
)

CHUNK = 1 << 20
# On a busy machine QEMU sometimes fails to measure how long key derivation takes.
LUKS_ATTEMPTS = 10
ROOT = Path(__file__).parents[2]


def _data_segments(path: Path) -> Iterator[tuple[int, int]]:
    """Yield the (start, end) of what a sparse file holds: terabytes of hole cost nothing."""
    with path.open("rb") as file:
        end, size = 0, os.fstat(file.fileno()).st_size
        while end < size:
            try:
                start = os.lseek(file.fileno(), end, os.SEEK_DATA)
            except OSError:
                return
            end = os.lseek(file.fileno(), start, os.SEEK_HOLE)
            yield start, end


def assert_reads(raw: Path, expected: SparseBytes) -> None:
    """Assert that a raw file holds exactly the expected guest bytes, everywhere."""
    assert raw.stat().st_size == -(-len(expected) // 512) * 512
    with raw.open("rb") as file:
        for start, end in _data_segments(raw):
            for at in range(start, end, CHUNK):
                piece = os.pread(file.fileno(), min(CHUNK, end - at), at)
                assert piece == expected.read(at, len(piece)), f"guest bytes from {at:#x} differ"
        for at, length in expected.extents():
            assert os.pread(file.fileno(), length, at) == expected.read(at, length), hex(at)


def assert_clean(path: Path) -> None:
    """Assert that qemu-img finds nothing at all."""
    check = qemu_check(path)
    assert check.rc == 0, (check.totals, check.stderr)
    assert [check.count(name) for name in ("corruptions", "leaks", "check-errors")] == [0, 0, 0]


@pytest.fixture(autouse=True)
def _qemu() -> None:
    require_qemu()


@pytest.mark.parametrize("name", SOUND_SPECS)
def test_sound_image_is_clean_and_reads_back(name: str, tmp_path: Path) -> None:
    image = build(SOUND_SPECS[name])
    path = image.write_to(tmp_path / "built.qcow2")
    assert_clean(path)
    assert_reads(qemu_to_raw(path, tmp_path / "active.raw"), image.guest())


SNAPSHOT_SPECS = [name for name, spec in SOUND_SPECS.items() if spec.snapshots]


@pytest.mark.parametrize("name", [n for n in SNAPSHOT_SPECS if n != "snapshots-many"])
def test_snapshots_read_back(name: str, tmp_path: Path) -> None:
    image = build(SOUND_SPECS[name])
    path = image.write_to(tmp_path / "built.qcow2")
    for layer, snapshot in enumerate(image.spec.snapshots, 1):
        if image.places.layers[layer].l1_size == 0:
            continue
        raw = qemu_to_raw(path, tmp_path / f"{layer}.raw", snapshot.id)
        view = image.guest(layer)
        if len(view) != image.spec.virtual_size:
            # qemu-img reads a snapshot at the size of the active layer.
            view.truncate(image.spec.virtual_size)
        assert_reads(raw, view)


def test_std_is_byte_for_byte_what_qemu_makes(tmp_path: Path) -> None:
    path = tmp_path / "qemu.qcow2"
    assert run_tool("qemu-img", "create", "-f", "qcow2", path, "64M").returncode == 0
    assert qemu_io(path, ["write -P 17 0 192k"]).returncode == 0
    assert path.read_bytes() == std_image().data.to_bytes()


def test_snapshot_of_std_is_what_qemu_makes(tmp_path: Path) -> None:
    path = tmp_path / "qemu.qcow2"
    std_image().write_to(path)
    assert run_tool("qemu-img", "snapshot", "-c", "one", path).returncode == 0
    made = path.read_bytes()
    seconds, nanoseconds = (int.from_bytes(made[at : at + 4], "big") for at in (0x90010, 0x90014))
    snapshot = SnapshotSpec("1", "one", date_sec=seconds, date_nsec=nanoseconds, vm_clock_nsec=0)
    built = std_image(snapshots=(snapshot,))
    # QEMU's file ends with the last byte of the table, the builder's with a whole cluster.
    assert built.data.to_bytes()[: len(made)] == made
    assert [built.refcount(cluster) for cluster in range(10)] == [1, 1, 1, 1, 2, 2, 2, 2, 1, 1]


def test_header_fields_are_what_qemu_reports(tmp_path: Path) -> None:
    build(replace(COMPLETE, compression_type=1)).write_to(tmp_path / "t.qcow2")
    info = json.loads(run_tool("qemu-img", "info", "--output=json", tmp_path / "t.qcow2").stdout)
    specific = info["format-specific"]["data"]
    assert specific["compression-type"] == "zstd"
    assert [(b["name"], b["granularity"], b["flags"]) for b in specific["bitmaps"]] == [
        ("bits", 65536, ["auto"]),
        ("all", 512, ["auto"]),
    ]
    assert [(s["id"], s["name"], s["vm-state-size"]) for s in info["snapshots"]] == [
        ("1", "first", 5 << 30),
        ("2", "second", 0),
        ("3", "third", 0),
    ]


def test_backing_file_shows_through(tmp_path: Path) -> None:
    base = std_image()
    base.write_to(tmp_path / "base.qcow2")
    content = {**EXTENDED, 1: ZeroPlain(), 2: Subclusters(0x0000_00F0_0000_0F00)}
    top = build(
        ImageSpec(
            extended_l2=True,
            content={**content, 0: Data(b"top")},
            backing_name="base.qcow2",
            backing_format="qcow2",
        )
    )
    path = top.write_to(tmp_path / "top.qcow2")
    assert_clean(path)
    assert_reads(qemu_to_raw(path, tmp_path / "top.raw"), top.guest(backing=base.guest()))


def test_aes_image_is_clean(tmp_path: Path) -> None:
    path = std_image(crypt_method=1).write_to(tmp_path / "aes.qcow2")
    assert qemu_check(path).totals is None
    check = qemu_check_encrypted(path, "aes", "secret")
    assert (check.rc, check.count("allocated-clusters")) == (0, 3), check.stderr


def _real_luks_header(directory: Path) -> bytes:
    path = directory / "real.qcow2"
    options = "encrypt.format=luks,encrypt.key-secret=key,encrypt.iter-time=10"
    arguments = ["--object", "secret,id=key,data=secret", "-f", "qcow2", "-o", options]
    for _ in range(LUKS_ATTEMPTS):
        done = run_tool("qemu-img", "create", *arguments, path, "1M")
        if "Unable to get accurate CPU usage" not in done.stderr:
            break
    assert done.returncode == 0, done.stderr
    made = path.read_bytes()
    at = made.index(EXTENSION_CRYPTO.to_bytes(4, "big") + (16).to_bytes(4, "big")) + 8
    offset, length = (int.from_bytes(made[k : k + 8], "big") for k in (at, at + 8))
    return made[offset : offset + length].ljust(length, b"\0")


def test_luks_region_is_claimed(tmp_path: Path) -> None:
    """With a LUKS header that opens, borrowed from QEMU; then the rows of the LUKS section."""
    luks = _real_luks_header(tmp_path)

    def judge(damage: str) -> tuple[int, int]:
        image = std_image(crypt_method=2, luks=luks, snapshots=(SnapshotSpec("1", "one"),))
        first = image.places.luks // image.spec.cluster_size
        head = image.places.extensions[EXTENSION_CRYPTO]
        if damage == "longer":
            image.truncate(len(image.data) + image.spec.cluster_size)
            image.poke(head + 16, len(luks) + image.spec.cluster_size)
        elif damage == "first":
            image.set_refcount(first, 2)
        elif damage == "last":
            image.set_refcount(first + (len(luks) - 1) // image.spec.cluster_size, 0)
        path = image.write_to(tmp_path / "luks.qcow2")
        check = qemu_check_encrypted(path, "luks", "secret")
        return check.count("corruptions"), check.count("leaks")

    assert judge("none") == (0, 0)
    assert judge("longer") == (1, 0)
    assert judge("first") == (0, 1)
    assert judge("last") == (1, 0)


def test_qemu_can_go_on_writing(tmp_path: Path) -> None:
    """COPIED flags and refcounts decide where QEMU writes: the snapshot must not notice."""
    image = build(replace(COMPLETE, bitmaps=()))
    path = image.write_to(tmp_path / "t.qcow2")
    assert qemu_io(path, ["write -P 99 0 1M", "discard 2M 1M"]).returncode == 0
    assert_clean(path)
    for layer in (1, 2, 3):
        assert_reads(qemu_to_raw(path, tmp_path / "s.raw", str(layer)), image.guest(layer))


def test_pokes_reach_their_place() -> None:
    image = build(COMPLETE)
    image.set_l1(0, 1, layer=1)
    image.set_l2(0, 5, 2)
    assert image.peek(image.snapshots[0].l1) == 1
    assert image.peek(image.active.l2[0] + 40) == 2
    extended = build(ImageSpec(extended_l2=True, content=EXTENDED))
    extended.set_subclusters(0, 4, 7)
    assert extended.peek(extended.active.l2[0] + 4 * 16 + 8) == 7
    assert image.peek(image.places.bitmaps[0].record) == image.places.bitmaps[0].table
    assert image.peek(image.places.snapshot_records[2]) == image.snapshots[2].l1


@pytest.mark.parametrize(
    ("order", "first_bytes"),
    [(0, "ff"), (1, "5555"), (2, "11111111"), (3, "01" * 8), (4, "0001" * 8), (5, "00000001" * 8)],
)
def test_refcount_bit_order(order: int, first_bytes: str) -> None:
    """The bytes of the standard image with other widths, and its probes (format section 2.2)."""
    image = std_image(refcount_order=order)
    at = image.places.refcount_blocks[0]
    expected = bytes.fromhex(first_bytes)
    assert image.data.read(at, len(expected)) == expected
    probes = {0: (0, 0x7F, {7: 0}), 1: (1, 0x95, {7: 2}), 2: (3, 0x51, {6: 1, 7: 5})}
    if order in probes:
        byte, value, counts = probes[order]
        for cluster, count in counts.items():
            image.set_refcount(cluster, count)
        assert image.peek(at + byte, 1) == value
        assert {cluster: image.refcount(cluster) for cluster in counts} == counts


def test_layouts_are_what_they_say() -> None:
    shuffled = build(SOUND_SPECS["shuffle-many-blocks"]).places.refcount_blocks
    offsets = [shuffled[number] for number in sorted(shuffled)]
    assert len(offsets) == 20
    assert offsets != sorted(offsets)
    reverse = build(SOUND_SPECS["reverse"])
    assert reverse.places.refcount_table > reverse.active.l1 > reverse.active.l2[0]
    long_table = build(SOUND_SPECS["refcount-table-of-three-clusters"])
    assert long_table.places.refcount_table_clusters == 3
    extra_blocks = build(SOUND_SPECS["refcount-table-longer-than-needed"])
    assert extra_blocks.places.refcount_blocks.keys() == {0, 2, 3, 9000}
    gaps = std_image(layout=Layout(gap=3))
    assert [gaps.active.l2[0], gaps.active.data[0]] == [0xD0000, 0x110000]
    assert build(SOUND_SPECS["empty-l2"]).active.l2.keys() == {0, 1}
    own = build(SOUND_SPECS["snapshot-own-tables"])
    assert own.snapshots[0].l2[0] != own.active.l2[0]
    assert own.snapshots[0].data == own.active.data
    assert build(SOUND_SPECS["vm-state"]).active.l1_size == 6
    assert build(SOUND_SPECS["snapshot-smaller"]).snapshots[0].l1_size == 1
    assert build(SOUND_SPECS["snapshot-larger"]).snapshots[0].l1_size == 16


def test_compressed_entries_are_what_qemu_makes(tmp_path: Path) -> None:
    content = {0: Compressed(17), 1: Compressed(18)}
    image = std_image(content=content)
    path = tmp_path / "qemu.qcow2"
    assert run_tool("qemu-img", "create", "-f", "qcow2", path, "64M").returncode == 0
    writes = ["write -c -P 17 0 64k", "write -c -P 18 64k 64k"]
    assert qemu_io(path, writes).returncode == 0
    made = path.read_bytes()
    entries = [image.peek(image.l2_entry_offset(0, index)) for index in content]
    assert entries == [int.from_bytes(made[at : at + 8], "big") for at in (0x40000, 0x40008)]
    assert image.refcount(5) == 2


def test_far_layout_stays_small(tmp_path: Path) -> None:
    image = build(SOUND_SPECS["far"])
    assert len(image.data) > 5 << 40
    assert image.data.stored_bytes() < 64 << 20
    assert image.write_to(tmp_path / "far").stat().st_blocks * 512 < 64 << 20


@pytest.mark.parametrize(
    "spec",
    [
        {"refcount_order": 0, "snapshots": (SnapshotSpec("1", "one"),)},
        {"version": 2, "refcount_order": 3},
        {"version": 2, "bitmaps": (BitmapSpec("b"),)},
        {"header_length": 104, "compression_type": 1},
        {"cluster_bits": 13, "extended_l2": True},
        {"cluster_bits": 9, "backing_name": "b"},
        {"layout": Layout(place={"l1": 1, "l2/0": 1})},
        {"layout": Layout(place={"l3": 1})},
        {"l1_size": 1, "content": {8192: Data(1)}},
        {"crypt_method": 2},
        {"refcount_order": 0, "content": {0: Compressed(1), 1: Compressed(2)}},
    ],
)
def test_what_cannot_be_sound_is_refused(spec: dict[str, object]) -> None:
    with pytest.raises(ValueError, match=r"."):
        std_image(**spec)


def test_sparse_bytes_behave_like_bytes(tmp_path: Path) -> None:
    dice = random.Random(4)
    sparse, plain = SparseBytes(), bytearray()
    for _ in range(400):
        at, length, byte = dice.randrange(30000), dice.randrange(9000), dice.randrange(256)
        if dice.random() < 0.2:
            sparse.truncate(at)
            plain = plain[:at].ljust(at, b"\0")
            continue
        plain = plain.ljust(at + length, b"\0")
        plain[at : at + length] = bytes([byte]) * length
        if dice.random() < 0.5:
            sparse.fill(at, length, byte)
        else:
            sparse.write(at, bytes([byte]) * length)
        assert sparse.to_bytes() == plain
        around = plain[at : at + length + 9].ljust(length + 9, b"\0")
        assert sparse.copy().read(at, length + 9) == around
    sparse.write_to(tmp_path / "sparse")
    assert (tmp_path / "sparse").read_bytes() == plain


def test_builder_does_not_know_the_product() -> None:
    """A shared import would let reader and writer share a mistake."""
    script = (
        "import sys, pkgutil, importlib, tests.builder as b\n"
        "names = [module.name for module in pkgutil.iter_modules(b.__path__)]\n"
        "[importlib.import_module('tests.builder.' + n) for n in names if n[:5] != 'test_']\n"
        "sys.exit(any(name.split('.')[0] == 'qcow2_dump' for name in sys.modules))\n"
    )
    subprocess.run([sys.executable, "-c", script], cwd=ROOT, check=True)


def test_many_clusters_build_quickly_enough_to_be_used() -> None:
    image: BuiltImage = build(ImageSpec(cluster_bits=9, virtual_size=4 << 20, content=MANY))
    assert len(image.active.data) == len(MANY)
