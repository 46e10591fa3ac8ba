"""Bytes at file offsets: stored, copied, and refused where there is no place for them."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from qcow2_dump.errors import RequestError
from qcow2_dump.plan.overlay import OverlaySource
from qcow2_dump.planners.fields.raw import plan_copy, plan_edit, read_integer
from qcow2_dump.planners.proposal import Proposal
from qcow2_dump.storage.base import ByteSource
from qcow2_dump.storage.memory import MemorySource
from tests.builder.build import build
from tests.builder.spec import ImageSpec
from tests.builder.std import std_image


def after(source: ByteSource, proposal: Proposal) -> bytes:
    return OverlaySource(source, proposal.plan).read(0, source.size)


def image_bytes() -> bytearray:
    return bytearray(std_image().data.to_bytes())


@settings(max_examples=40, deadline=None)
@given(st.binary(min_size=8, max_size=64), st.sampled_from([1, 2, 4, 8]), st.data())
def test_what_is_stored_is_shown_and_nothing_else_changes(
    held: bytes, width: int, data: st.DataObject
) -> None:
    offset = data.draw(st.integers(0, len(held) - width))
    value = data.draw(st.integers(0, 2 ** (8 * width) - 1))
    source = MemorySource(held)
    proposal = plan_edit(source, offset, value, width)
    edited = after(source, proposal)
    assert read_integer(MemorySource(edited), offset, width) == value
    assert edited[:offset] == held[:offset]
    assert edited[offset + width :] == held[offset + width :]
    assert proposal.plan.is_empty == (edited == held)


@pytest.mark.parametrize(("offset", "width"), [(93, 8), (97, 4), (100, 1), (2**62, 8), (-1, 1)])
def test_nothing_is_stored_past_the_end(offset: int, width: int) -> None:
    source = MemorySource(bytes(100))
    with pytest.raises(RequestError, match="past the end"):
        plan_edit(source, offset, 0, width)
    with pytest.raises(RequestError, match="past the end"):
        read_integer(source, offset, width)


@pytest.mark.parametrize(("value", "width"), [(256, 1), (-1, 8), (2**64, 8)])
def test_a_value_has_to_fit(value: int, width: int) -> None:
    with pytest.raises(RequestError, match="does not fit"):
        plan_edit(MemorySource(bytes(100)), 0, value, width)


def test_a_ruined_magic_can_be_put_right() -> None:
    data = image_bytes()
    data[:4] = b"\0\0\0\0"
    source = MemorySource(bytes(data))
    proposal = plan_edit(source, 0, 0x514649FB, 4)
    assert after(source, proposal)[:4] == b"QFI\xfb"
    assert next(proposal.plan.writes()).field.kind == "header"


@pytest.mark.parametrize(
    ("offset", "width", "version", "kind"),
    [
        (24, 8, 3, "header"),
        (24, 4, 3, "bytes"),
        (72, 8, 3, "header"),
        (72, 8, 2, "bytes"),
        (0x40000, 8, 3, "bytes"),
    ],
)
def test_only_exactly_a_header_field_is_called_one(
    offset: int, width: int, version: int, kind: str
) -> None:
    source = MemorySource(build(ImageSpec(version=version)).data.to_bytes() + bytes(1 << 18))
    changed = read_integer(source, offset, width) ^ 1
    proposal = plan_edit(source, offset, changed, width)
    assert [write.field.kind for write in proposal.plan.writes()] == [kind]


def test_unknown_autoclear_bits_are_named_and_left() -> None:
    source = MemorySource(std_image(autoclear=1 << 40).data.to_bytes())
    proposal = plan_edit(source, 0x50000, 7, 1)
    assert "0x10000000000 at file offset 88" in proposal.notes[0]
    assert after(source, proposal)[88:96] == source.read(88, 8)


@settings(max_examples=40, deadline=None)
@given(st.binary(min_size=1, max_size=64), st.data())
def test_a_copy_is_that_of_memmove(held: bytes, data: st.DataObject) -> None:
    length = data.draw(st.integers(1, len(held)))
    origin = data.draw(st.integers(0, len(held) - length))
    target = data.draw(st.integers(0, len(held) - length))
    expected = bytearray(held)
    expected[target : target + length] = held[origin : origin + length]
    source = MemorySource(held)
    assert after(source, plan_copy(source, None, origin, target, length)) == expected


def test_a_copy_from_another_file() -> None:
    source, other = MemorySource(bytes(image_bytes())), MemorySource(b"0123456789")
    proposal = plan_copy(source, other, 2, 0x50000, 4)
    assert after(source, proposal)[0x50000:0x50004] == b"2345"
    with pytest.raises(RequestError, match="what is to be copied"):
        plan_copy(source, other, 8, 0x50000, 4)
    with pytest.raises(RequestError, match="the place to copy to"):
        plan_copy(source, other, 0, source.size - 3, 4)


@pytest.mark.parametrize(("bits", "most"), [(9, 512), (16, 65536), (30, 65536), (0, 65536)])
def test_no_more_than_a_cluster_is_copied(bits: int, most: int) -> None:
    data = image_bytes()
    data[20:24] = bits.to_bytes(4, "big")
    source = MemorySource(bytes(data))
    assert not plan_copy(source, None, 0x10000, 0x50000, most).plan.is_empty
    for length in (most + 1, 0):
        with pytest.raises(RequestError, match="up to one cluster"):
            plan_copy(source, None, 0x10000, 0x50000, length)


def test_copying_what_is_there_already_needs_no_plan() -> None:
    source = MemorySource(bytes(image_bytes()))
    assert plan_copy(source, None, 0x50000, 0x60000, 0x10000).plan.is_empty
