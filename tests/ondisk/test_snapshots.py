"""Snapshot records (section 5)."""

import struct
from dataclasses import replace
from typing import Any

import pytest

from qcow2_dump.ondisk.snapshots import (
    SnapshotRecord,
    pack_snapshot_table,
    snapshot_record_rules,
    unpack_snapshot,
)
from tests.ondisk.samples import MIB, SNAPSHOT, V2, V3


def raw(extra: bytes, *, extra_size: int | None = None, tail: bytes = b"12name") -> bytes:
    size = len(extra) if extra_size is None else extra_size
    fixed = struct.pack(">QIHHIIQII", 0x80000, 3, 2, 4, 11, 22, 33, 44, size)
    return fixed + extra + tail


def told(record: SnapshotRecord) -> set[tuple[str, bool]]:
    return {(broken.rule, broken.refused) for broken in snapshot_record_rules(record, V3)}


def test_every_field_is_read_from_its_place() -> None:
    record, following = unpack_snapshot(raw(b""), 0)
    assert record == SnapshotRecord(0x80000, 3, b"12", b"name", 11, 22, 33, 44, b"")
    assert record.length == 46
    assert following == 48
    assert (record.vm_state_size, record.disk_size, record.icount) == (44, None, None)


@pytest.mark.parametrize(
    ("size", "vm_state", "disk", "icount"),
    [
        (7, 44, None, None),
        (8, 0x0101010101010101, None, None),
        (15, 0x0101010101010101, None, None),
        (16, 0x0101010101010101, 0x0101010101010101, None),
        (23, 0x0101010101010101, 0x0101010101010101, None),
        (24, 0x0101010101010101, 0x0101010101010101, 0x0101010101010101),
    ],
)
def test_a_field_of_the_extra_data_must_fit_completely(
    size: int, vm_state: int, disk: int | None, icount: int | None
) -> None:
    record, _ = unpack_snapshot(raw(b"\1" * size), 0)
    assert (record.vm_state_size, record.disk_size, record.icount) == (vm_state, disk, icount)
    assert (record.id, record.name) == (b"12", b"name")


def test_minus_one_means_no_icount() -> None:
    assert SNAPSHOT.icount is None
    assert SNAPSHOT.disk_size == 64 * MIB


def test_unknown_extra_data_is_kept() -> None:
    record, _ = unpack_snapshot(raw(bytes(24) + b"future"), 0)
    assert record.extra_data[24:] == b"future"
    assert record.pack() == raw(bytes(24) + b"future") + bytes(4)


def test_records_follow_each_other_at_multiples_of_8() -> None:
    table = pack_snapshot_table([SNAPSHOT, replace(SNAPSHOT, id=b"2", name=b"")])
    first, second_at = unpack_snapshot(table, 0)
    second, end = unpack_snapshot(memoryview(table), second_at)
    assert first == SNAPSHOT
    assert second_at == 72
    assert second.id == b"2"
    assert end == len(table)


def test_a_record_behind_the_end_reads_as_zeros() -> None:
    record, following = unpack_snapshot(b"", 800)
    assert record == SnapshotRecord(0, 0, b"", b"", 0, 0, 0, 0, b"")
    assert following == 840


def test_a_cut_record_is_filled_with_zeros() -> None:
    record, _ = unpack_snapshot(raw(b"\1" * 10, extra_size=16, tail=b""), 0)
    assert record.extra_data == b"\1" * 10 + bytes(6)
    assert record.disk_size == 0x0101 << 48
    assert record.name == bytes(4)
    assert record.length == 40 + 16 + 6


def test_absurd_extra_data_is_not_allocated() -> None:
    record, following = unpack_snapshot(raw(b"\1" * 2000, extra_size=2**32 - 1, tail=b""), 0)
    assert record.extra_data == b"\1" * 2000
    assert record.extra_data_size == 2**32 - 1
    assert following == 40 + 2**32 + 8
    assert record.vm_state_size == 0x0101010101010101
    with pytest.raises(ValueError, match="holds 2000 of its"):
        record.pack()
    cut = record.with_extra_data(record.extra_data[:1024])
    assert len(cut.pack()) == 40 + 1024 + 8


def test_a_sound_record_breaks_nothing() -> None:
    assert told(SNAPSHOT) == set()


@pytest.mark.parametrize("size", [16, 24, 1024])
def test_accepted_amounts_of_extra_data(size: int) -> None:
    extra = SNAPSHOT.extra_data.ljust(size, b"\0")[:size]
    assert told(SNAPSHOT.with_extra_data(extra)) == set()


def test_amounts_of_extra_data_past_the_limits() -> None:
    short = SNAPSHOT.with_extra_data(bytes(15))
    assert told(short) == {("snapshot-extra-short", False)}
    assert list(snapshot_record_rules(short, V2)) == []
    extra = SNAPSHOT.extra_data.ljust(1025, b"\0")
    assert told(SNAPSHOT.with_extra_data(extra)) == {("snapshot-extra-long", True)}
    (broken,) = snapshot_record_rules(SNAPSHOT.with_extra_data(extra), V2)
    assert (broken.offset, broken.value) == (36, 1025)


READABLE = 0x7FFFFFFFC0000000


@pytest.mark.parametrize(
    ("changes", "rules"),
    [
        ({"l1_table_offset": 0x80200}, {"snapshot-l1-offset"}),
        ({"l1_table_offset": READABLE}, {"snapshot-l1-offset"}),
        ({"l1_table_offset": 2**63}, {"snapshot-l1-offset"}),
        ({"l1_table_offset": READABLE - 0x10000, "l1_size": 0x2000}, set()),
        ({"l1_table_offset": READABLE - 0x10000, "l1_size": 0x2001}, {"snapshot-l1-offset"}),
        ({"l1_size": 4_194_304}, set()),
        ({"l1_size": 4_194_305}, {"snapshot-l1-size"}),
        ({"id": b""}, {"snapshot-ghost"}),
        ({"name": b""}, set()),
        ({"l1_size": 0}, {"snapshot-ghost", "snapshot-disk-size"}),
    ],
)
def test_l1_table_and_identity(changes: dict[str, Any], rules: set[str]) -> None:
    assert told(replace(SNAPSHOT, **changes)) == {(rule, False) for rule in rules}


@pytest.mark.parametrize(
    ("size", "sound"),
    [
        (0, False),
        (512, True),
        (513, False),
        (512 * MIB, True),
        (512 * MIB + 512, False),
        (2**63, False),
    ],
)
def test_disk_size(size: int, sound: bool) -> None:
    record = SNAPSHOT.with_extra_data(bytes(8) + size.to_bytes(8, "big"))
    assert told(record) == (set() if sound else {("snapshot-disk-size", False)})
