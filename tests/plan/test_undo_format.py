"""Records of an undo file: few words of a long write, and words that make no sense."""

import os
import struct
import zlib

import pytest

from qcow2_dump.errors import JournalError
from qcow2_dump.plan.model import Field, Plan, Step, Write
from qcow2_dump.plan.spool import Spool
from qcow2_dump.plan.undo_format import RECORD, Names, StepHead, pack_step

OLD = os.urandom(4096)
NEW = OLD[:8] + b"new word" + OLD[16:4000] + b"another!" + OLD[4008:]
HEAD = RECORD.size


def made() -> Plan:
    """A write that changes the words 1 and 500 of 512."""
    plan = Plan("a test", 1 << 20)
    old, new = plan.spool.put_change(OLD, NEW)
    plan.steps = [Write(4096, old, new, Field("l2", 4096), "because", 2)]
    return plan


def record(plan: Plan) -> tuple[bytes, Names]:
    names = Names.of(plan)
    return b"".join(pack_step(plan.steps[0], names)), names


def read(packed: bytes, names: Names) -> Step:
    """What a record says, its checksum made right."""
    summed = zlib.crc32(packed[HEAD:], zlib.crc32(packed[: HEAD - 4]))
    head = StepHead.unpack(packed[: HEAD - 4] + struct.pack(">I", summed))
    return head.step(packed[HEAD:], names, Spool())


def test_few_words_take_little_room() -> None:
    packed, names = record(made())
    assert len(packed) == HEAD + 2 * (4 + 8 + 8)
    step = read(packed, names)
    assert isinstance(step, Write)
    assert (bytes(step.old.over(NEW)), bytes(step.new.over(OLD)), step.count) == (OLD, NEW, 2)


def test_what_lies_around_the_words_is_told_by_its_checksums() -> None:
    step = read(*record(made()))
    assert isinstance(step, Write)
    assert step.old.is_held(OLD)
    assert step.new.is_held(NEW)
    assert not step.old.is_held(OLD[:-1] + bytes([OLD[-1] ^ 1]))
    assert not step.new.is_held(NEW[:-1] + bytes([NEW[-1] ^ 1]))


def test_a_change_taken_back_is_written_down_the_other_way_round() -> None:
    step = read(*record(made().inverse("back", "undo")))
    assert isinstance(step, Write)
    assert (bytes(step.old.over(OLD)), bytes(step.new.over(NEW))) == (NEW, OLD)
    assert step.old.is_held(NEW)
    assert step.new.is_held(OLD)


@pytest.mark.parametrize("numbers", [(1, 512), (1, 1), (500, 1), (1, 0xFFFF_FFFF)])
def test_words_outside_or_out_of_order_are_refused(numbers: tuple[int, int]) -> None:
    packed, names = record(made())
    hostile = packed[:HEAD] + struct.pack("<II", *numbers) + packed[HEAD + 8 :]
    with pytest.raises(JournalError, match="makes no sense"):
        read(hostile, names)


@pytest.mark.parametrize(
    ("length", "words", "zeros"), [(4096, 513, 0), (4092, 2, 0), (4096, 2, 1), (4096, 2, 2)]
)
def test_words_that_do_not_fit_their_write_are_refused(length: int, words: int, zeros: int) -> None:
    packed, _ = record(made())
    hostile = bytearray(packed[:HEAD])
    hostile[1] = zeros
    hostile[8:16] = struct.pack(">II", length, words)
    with pytest.raises(JournalError, match="makes no sense"):
        StepHead.unpack(bytes(hostile))
