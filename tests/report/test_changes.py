"""The changes of a plan are told field by field, and counted as they are told."""

from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from qcow2_dump.image.image import Image, open_image
from qcow2_dump.ondisk.refcounts import pack_refcounts
from qcow2_dump.plan.model import Barrier, Field, Plan, Resize, Write
from qcow2_dump.planners.draft import Draft, Stage
from qcow2_dump.report.changes import Change, changes, counted_reasons
from qcow2_dump.storage.memory import MemorySource
from tests.builder.std import std_image

COPIED = 1 << 63
HEAD = std_image().data.read(0, 0x10000)


def plan_of(*steps: tuple[int, bytes, bytes, Field]) -> Plan:
    """A plan of writes: offset, old, new, field."""
    plan = Plan("test", 1 << 20)
    for offset, old, new, field in steps:
        put = plan.spool.put
        plan.steps.append(Write(offset, put(old), put(new), field, "why", 1))
    plan.steps.append(Barrier())
    return plan


def words(*values: int) -> bytes:
    """Big-endian 64-bit words."""
    return b"".join(value.to_bytes(8, "big") for value in values)


def told(change: Change) -> str:
    """A change as a person reads it."""
    return f"{change.place}: {change.step}"


def test_an_l2_entry() -> None:
    old, new = words(0, COPIED | 0x60002), words(0, COPIED | 0x60000)
    plan = plan_of((0x40010, old, new, Field("l2", 0x40000, 64, 2, 0x20000, 0x10000)))
    (change,) = changes(plan)
    assert told(change) == (
        "L2 table 0x40000, entry 3 (file offset 0x40018, guest 0x30000): 0x8000000000060002 -> "
        "0x8000000000060000 (offset 0x60000, COPIED)"
    )
    assert (change.unit, change.guest_offset, change.guest_length) == (3, 0x30000, 0x10000)


@pytest.mark.parametrize(
    ("kind", "raw", "meaning"),
    [
        ("l2", 0, "unallocated"),
        ("l2", 1, "reads as zeros"),
        ("l2", 1 << 62 | 0x1234, "compressed"),
        ("l1", COPIED | 0x50000, "offset 0x50000, COPIED"),
        ("refcount_table", 0x20000, "offset 0x20000"),
        ("refcount_table", 0, "none"),
    ],
)
def test_what_an_entry_says(kind: str, raw: int, meaning: str) -> None:
    plan = plan_of((0x40000, words(0x70000), words(raw), Field(kind, 0x40000)))
    (change,) = changes(plan)
    assert change.step == f"0x70000 -> {raw:#x} ({meaning})"


def test_an_extended_entry_is_one_change() -> None:
    old, new = words(COPIED | 0x50000, 5), words(COPIED | 0x50000, 4)
    plan = plan_of((0x40000, old, new, Field("l2", 0x40000, 128, 0, 0, 0x10000)))
    (change,) = changes(plan)
    assert change.length == 16
    assert change.step.endswith("(offset 0x50000, COPIED)")


@pytest.mark.parametrize("order", range(7))
def test_refcounts_of_every_width(order: int) -> None:
    old, new = [0] * 64, [0] * 64
    new[5] = new[63] = 1
    field = Field("refcount_block", 0x20000, 1 << order)
    plan = plan_of((0x20000, pack_refcounts(old, order), pack_refcounts(new, order), field))
    assert [(change.unit, change.old, change.new) for change in changes(plan)] == [
        (5, 0, 1),
        (63, 0, 1),
    ]


def test_a_refcount_names_its_cluster(tmp_path: Path) -> None:
    draft = Draft(open_image(std_image().write_to(tmp_path / "disk.qcow2")), "test")
    field = Field("refcount_block", 0x20000, 16, 6)
    draft.put(Stage.RAISE, 0x2000C, (2).to_bytes(2, "big"), field, "refcount.raise")
    with draft.image:
        (change,) = changes(draft.build(), draft.image)
    assert told(change) == "refcount of cluster 6 (file offset 0x2000c): 1 -> 2"


def test_header_fields_are_told_by_name() -> None:
    old = words(0x1000) + (3).to_bytes(4, "big")
    new = words(0x2000) + (4).to_bytes(4, "big")
    plan = plan_of((48, old, new, Field("header", 0, 0)))
    assert [told(change) for change in changes(plan)] == [
        "refcount_table_offset (file offset 0x30): 0x1000 -> 0x2000",
        "refcount_table_clusters (file offset 0x38): 3 -> 4",
    ]
    assert counted_reasons(plan) == {"why": 2}


def test_what_lies_behind_the_header_fields_is_told_as_bytes() -> None:
    plan = plan_of((200, bytes(40), b"\0\0ab" + bytes(36), Field("header", 0, 0)))
    (change,) = changes(plan)
    assert (change.name, change.offset, change.length) == (None, 202, 38)
    assert (
        told(change) == "header: 38 bytes at file offset 0xca: zeros -> 61 62 " + "00 " * 14 + "..."
    )


def test_bytes_and_the_length_of_the_file() -> None:
    plan = plan_of((0x50000, b"abc", b"xyz", Field("bytes", 0x50000, 0)))
    plan.steps.append(Resize(1 << 20, 2 << 20, "file.grow"))
    assert [told(change) for change in changes(plan)] == [
        "bytes: 3 bytes at file offset 0x50000: 61 62 63 -> 78 79 7a",
        "length of the file: 1,048,576 -> 2,097,152 bytes",
    ]


def test_limits_in_all_and_of_one_reason() -> None:
    row = words(*range(1, 101))
    plan = plan_of((0, bytes(800), row, Field("l2", 0)))
    plan.steps.append(Resize(1 << 20, 2 << 20, "file.grow"))
    assert len(list(changes(plan, limit=7))) == 7
    shown = [change.reason for change in changes(plan, per_reason=3)]
    assert shown == ["why", "why", "why", "file.grow"]
    assert not list(changes(plan, limit=0))


@settings(max_examples=40)
@given(
    st.sampled_from([1, 2, 4, 8, 16, 32, 64]),
    st.binary(min_size=64, max_size=64),
    st.binary(min_size=64, max_size=64),
)
def test_told_as_often_as_drafted_counts_them(bits: int, old: bytes, new: bytes) -> None:
    image = Image(MemorySource(HEAD + old, "disk.qcow2"))
    draft = Draft(image, "test")
    draft.put(Stage.SWITCH, len(HEAD), new, Field("refcount_block", len(HEAD), bits), "why")
    plan = draft.build()
    assert sum(1 for _ in changes(plan)) == counted_reasons(plan).total()
