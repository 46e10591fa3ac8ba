"""`map` against the real `qemu-img map`, `qemu-io -c map` and what snapshots read as."""

from __future__ import annotations

import os
import re
import shutil
from contextlib import chdir
from pathlib import Path

import pytest

from qcow2_dump.errors import FormatError
from qcow2_dump.image.extents import Extent
from qcow2_dump.image.image import open_image
from qcow2_dump.image.lookup import look_up
from qcow2_dump.ondisk.mapping import ClusterType
from qcow2_dump.operations.selection import select_tree
from tests.builder.build import build
from tests.builder.sound_specs import SOUND_SPECS
from tests.corpus import qemu
from tests.corpus.base import Base
from tests.corpus.bases import BASES
from tests.corpus.cases import Case, all_cases, fixed_cases, materialize, path_of
from tests.differential import map_oracle
from tests.differential.judge import UNREADABLE
from tests.support.qemu import qemu_to_raw

FULL = os.environ.get("QCOW2_DUMP_FULL") == "1"
WITH_SNAPSHOTS = [base for base in BASES if "snapshots" in base.traits and not base.encrypted]
ALLOCATION = re.compile(r"\(0x([0-9a-f]+)\) bytes (not allocated|    allocated)")


def snapshot_ids(path: Path) -> list[str]:
    """The IDs of an image's snapshots."""
    with open_image(path) as image:
        return [entry.record.id.decode() for entry in image.snapshot_table.entries]


@pytest.mark.parametrize("base", BASES, ids=lambda base: base.name)
def test_json_is_that_of_qemu_img(base: Base) -> None:
    path = path_of(base)
    assert map_oracle.their_map(path, encrypted=base.encrypted)[0] is not None
    assert map_oracle.differences(path, encrypted=base.encrypted) == []


@pytest.mark.parametrize("name", SOUND_SPECS)
def test_json_of_what_qemu_does_not_create(name: str, tmp_path: Path) -> None:
    path = build(SOUND_SPECS[name]).write_to(tmp_path / "image.qcow2")
    assert map_oracle.their_map(path)[0] is not None
    assert map_oracle.differences(path) == []


@pytest.mark.parametrize("case", all_cases() if FULL else fixed_cases(), ids=lambda case: case.name)
def test_damaged_image(case: Case, tmp_path: Path) -> None:
    """Never a gap nor a crash; and QEMU's own answer wherever it gives one."""
    path = materialize(case, tmp_path)
    try:
        theirs, _ = map_oracle.their_map(path, encrypted=case.base.encrypted)
        try:
            size, found = map_oracle.extents(path)
        except FormatError:
            assert theirs is None
            assert case.damage.name.startswith(UNREADABLE) or path.stat().st_size == 0
            return
        map_oracle.assert_tiles(size, found)
        assert_lookups_agree(path, found)
        if theirs is not None:
            assert map_oracle.differences(path, encrypted=case.base.encrypted) == []
    finally:
        # pytest keeps temporary folders of several runs; these would fill a disk.
        shutil.rmtree(path.parent)


@pytest.mark.parametrize("base", BASES, ids=lambda base: base.name)
def test_every_layer_tiles_the_disk(base: Base) -> None:
    path = path_of(base)
    for selector in ["active", *snapshot_ids(path)]:
        size, found = map_oracle.extents(path, snapshot=selector)
        map_oracle.assert_tiles(size, found)
        assert_lookups_agree(path, found, selector)


@pytest.mark.parametrize("base", BASES, ids=lambda base: base.name)
def test_what_is_present_is_what_qemu_io_calls_allocated(base: Base) -> None:
    path = path_of(base)
    target = qemu.image_arguments(path, encrypted=base.encrypted)
    shown = qemu.run(["qemu-io", "-r", "-c", "map", *target], folder=path.parent)
    theirs: list[tuple[int, bool]] = []
    for length, word in ALLOCATION.findall(shown):
        join(theirs, int(length, 16), word.strip() == "allocated")
    ours: list[tuple[int, bool]] = []
    for extent in map_oracle.extents(path)[1]:
        join(ours, extent.length, extent.type != ClusterType.UNALLOCATED)
    assert ours == theirs


def join(runs: list[tuple[int, bool]], length: int, present: bool) -> None:
    """Add a range to runs of ranges that are alike."""
    if runs and runs[-1][1] == present:
        length += runs.pop()[0]
    runs.append((length, present))


@pytest.mark.parametrize("base", WITH_SNAPSHOTS, ids=lambda base: base.name)
def test_a_snapshot_reads_what_its_map_says(base: Base, tmp_path: Path) -> None:
    path = path_of(base)
    for name in snapshot_ids(path):
        guest = qemu_to_raw(path, tmp_path / f"{name}.raw", name).read_bytes()
        size, found = map_oracle.extents(path, chain=True, snapshot=name)
        assert size == len(guest)
        files = layer_files(path)
        for extent in found:
            read = guest[extent.start : extent.start + extent.length]
            if extent.zero:
                assert not any(read)
            elif extent.type == ClusterType.NORMAL:
                assert extent.host_offset is not None
                data = files[extent.depth].read_bytes()[extent.host_offset :][: extent.length]
                assert read == data + bytes(len(read) - len(data))
            else:
                assert extent.type == ClusterType.COMPRESSED


def layer_files(path: Path) -> list[Path]:
    """The image and its backing file."""
    return [path, *path.parent.glob("back.*")]


def assert_lookups_agree(path: Path, found: list[Extent], selector: str = "active") -> None:
    """The scalar way through the tables says the same at both ends of every extent."""
    with open_image(path) as image:
        tree = select_tree(image, selector)
        step = max(1, len(found) // 200)
        for extent in found[::step]:
            for offset in (extent.start, extent.start + extent.length - 1):
                looked = look_up(image, tree, offset)
                assert (looked.type, looked.problem) == (extent.type, extent.problem)
                if extent.host_offset is not None:
                    assert looked.host is not None
                    within = offset % image.geometry.cluster_size
                    assert looked.host + within == extent.host_offset + offset - extent.start


def test_nothing_is_opened_without_being_asked(tmp_path: Path) -> None:
    (tmp_path / "back.raw").write_bytes(b"x" * 65536)
    path = tmp_path / "image.qcow2"
    qemu.create(path, 1 << 20, backing_file="back.raw", backing_fmt="raw")
    assert map_oracle.differences(path) == []
    (tmp_path / "back.raw").unlink()
    (row,) = map_oracle.rows(map_oracle.our_map(path, chain=False))
    assert (row["present"], row["zero"], row["data"]) == (False, False, False)


@pytest.mark.parametrize(
    ("lower", "upper"),
    [("cluster_size=512", "cluster_size=2M"), ("cluster_size=2M", "cluster_size=512")],
)
def test_layers_of_unlike_clusters_and_sizes(lower: str, upper: str, tmp_path: Path) -> None:
    base, middle, top = (tmp_path / f"{name}.qcow2" for name in ("base", "middle", "top"))
    qemu.img("create", "-q", "-f", "qcow2", "-o", lower, base, "5000k")
    qemu.io(base, ["write -P 1 3k 700k", "write -P 2 4100k 200k", "write -z 1M 1M"])
    qemu.img("create", "-q", "-f", "qcow2", "-b", base, "-F", "qcow2", "-o", upper, middle, "9M")
    qemu.io(middle, ["write -P 3 2M 64k", "discard 100k 300k", "write -P 4 8M 1k"])
    options = "extended_l2=on,cluster_size=64k"
    qemu.img("create", "-q", "-f", "qcow2", "-b", middle, "-F", "qcow2", "-o", options, top, "7M")
    qemu.io(top, ["write -P 5 10k 2k", "write -z 3M 34k", "write -P 6 5M 6k"])
    assert map_oracle.differences(top) == []
    size, found = map_oracle.extents(top, chain=True)
    map_oracle.assert_tiles(size, found)
    assert {extent.depth for extent in found} == {0, 1, 2}


def test_details_add_keys_and_keep_the_others(tmp_path: Path) -> None:
    path = tmp_path / "image.qcow2"
    qemu.create(path, 1 << 20)
    qemu.io(path, ["write -c -P 1 0 64k", "write -P 2 64k 64k"])
    qemu.img("snapshot", "-c", "one", path)
    packed, plain, rest = map_oracle.rows(map_oracle.our_map(path, details=True, snapshot="one"))
    assert (packed["compressed"], plain["compressed"]) == (True, False)
    assert (packed["type"], rest["type"]) == ("compressed", "unallocated")
    assert {row["snapshot"] for row in (packed, plain, rest)} == {"1"}
    assert {row["problem"] for row in (packed, plain, rest)} == {None}
    bare = [
        {key: row[key] for key in row if key not in ("compressed", "type", "snapshot", "problem")}
        for row in (packed, plain, rest)
    ]
    with chdir(tmp_path):
        assert bare == map_oracle.rows(map_oracle.our_map(path))
