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


def record() -> tuple[bytes, Names]:
    """A record of a write that changes the words 1 and 500 of 512."""
    plan = Plan("a test", 1 << 20)
    old = plan.spool.put(OLD)
    new = plan.spool.put_over(old, OLD, NEW)
    plan.steps = [Write(4096, old, new, Field("l2", 4096), "because", 2)]
    names = Names.of(plan)
    return b"".join(pack_step(plan.steps[0], names)), names


def read(packed: bytes, names: Names) -> Step:
    """What a record says, its checksum made right."""
    summed = zlib.crc32(packed[HEAD:], zlib.crc32(packed[: HEAD - 4]))
    head = StepHead.unpack(packed[: HEAD - 4] + struct.pack(">I", summed))
    return head.step(packed[HEAD:], names, Spool())


def test_few_words_take_little_room() -> None:
    packed, names = record()
    assert len(packed) == HEAD + 4096 + 2 * (4 + 8)
    step = read(packed, names)
    assert isinstance(step, Write)
    assert (step.old.read(), step.new.read(), step.count) == (OLD, NEW, 2)


@pytest.mark.parametrize("numbers", [(1, 512), (1, 1), (500, 1), (1, 0xFFFF_FFFF)])
def test_words_outside_or_out_of_order_are_refused(numbers: tuple[int, int]) -> None:
    packed, names = record()
    at = HEAD + 4096
    hostile = packed[:at] + struct.pack("<II", *numbers) + packed[at + 8 :]
    with pytest.raises(JournalError, match="makes no sense"):
        read(hostile, names)


@pytest.mark.parametrize(("length", "words", "zeros"), [(4096, 513, 0), (4092, 2, 0), (4096, 2, 2)])
def test_words_that_do_not_fit_their_write_are_refused(length: int, words: int, zeros: int) -> None:
    packed, _ = record()
    hostile = bytearray(packed[:HEAD])
    hostile[1] = zeros
    hostile[8:16] = struct.pack(">II", length, words)
    with pytest.raises(JournalError, match="makes no sense"):
        StepHead.unpack(bytes(hostile))
