"""Drafts: whatever is put into them, the plan does exactly that, in the order of the stages."""

import random
from collections.abc import Iterator
from dataclasses import dataclass, field
from types import SimpleNamespace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from qcow2_dump.plan import spool
from qcow2_dump.plan.model import Barrier, Field, Plan, Resize, Write
from qcow2_dump.plan.overlay import OverlaySource
from qcow2_dump.planners.draft import Draft, Stage, Words
from qcow2_dump.storage.memory import MemorySource
from tests.support.whole_writes import carried_out, in_full

SECTOR = 512
UNIT_BITS = (0, 1, 4, 8, 16, 64)


@pytest.fixture(params=[8, 4096], ids=["words", "bytes"], autouse=True, scope="module")
def kept(request: pytest.FixtureRequest) -> Iterator[None]:
    """Changes of a few words are kept as such, however little there is around them, and not."""
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(spool, "_SHORTEST_IN_PLACE", request.param)
        yield


@dataclass
class Put:
    stage: Stage
    offset: int
    new: bytes
    mask: bytes | None
    unit_bits: int
    reason: str = ""
    changed: int = field(default=0)
    by_words: bool = False

    def into(self, draft: Draft) -> None:
        what = Field("l2", 0, self.unit_bits, 3, 1 << 20, 1 << 16)
        if not self.by_words or self.mask is None:
            draft.put(self.stage, self.offset, self.new, what, self.reason, mask=self.mask)
            return
        mask, new = (np.frombuffer(of, ">u8").astype(np.uint64) for of in (self.mask, self.new))
        at = np.flatnonzero(mask)
        words = Words(len(mask), at, mask[at], new[at] & mask[at])
        draft.put_bits(self.stage, self.offset, words, what, self.reason)


@st.composite
def puts(draw: st.DrawFn, size: int) -> Put:
    """Some bytes for a place in a file of a size, or a little behind its end."""
    length = draw(st.integers(1, 200)) * 8
    new = (draw(st.sampled_from([b"\0", b"\1", b"abcdefg"])) * length)[:length]
    mask = None
    if draw(st.booleans()):
        some = draw(st.binary(min_size=1, max_size=3))
        edge = draw(st.integers(0, length))
        mask = (some * length)[:edge] + bytes(length - edge)
    return Put(
        draw(st.sampled_from(Stage)),
        draw(st.integers(0, size // 8 + 100)) * 8,
        new,
        mask,
        draw(st.sampled_from(UNIT_BITS)),
        by_words=draw(st.booleans()),
    )


@st.composite
def drafts(draw: st.DrawFn) -> tuple[bytes, list[Put], int]:
    """A file, what is put into it stage by stage, and to what size it grows at least."""
    content = draw(st.binary(min_size=1, max_size=3)) * draw(st.integers(1, 1500))
    drawn = draw(st.lists(puts(len(content)), max_size=7))
    ordered = sorted(drawn, key=lambda put: put.stage)
    for number, put in enumerate(ordered):
        put.reason = f"{put.stage:d}.{number}"
    return content, ordered, draw(st.integers(0, 6000))


def made(content: bytes, changes: list[Put], size: int) -> tuple[Draft, Plan]:
    draft = Draft(SimpleNamespace(source=MemorySource(content), resolver=None), "test")  # type: ignore[arg-type]
    draft.grow(size)
    for put in changes:
        put.into(draft)
    return draft, draft.build()


def expected(content: bytes, changes: list[Put], size: int) -> bytes:
    """The file with all changes made one after the other; counts what each of them changes."""
    held = bytearray(content.ljust(max(size, len(content)) + 20_000, b"\0"))
    for put in changes:
        old = bytes(held[put.offset : put.offset + len(put.new)])
        mask = put.mask or b"\xff" * len(put.new)
        new = bytes(o & ~m | n & m for o, n, m in zip(old, put.new, mask, strict=True))
        held[put.offset : put.offset + len(put.new)] = new
        put.changed = units_changed(put.unit_bits, old, new)
    return bytes(held)


def units_changed(bits: int, old: bytes, new: bytes) -> int:
    if old == new or bits == 0:
        return int(old != new)
    if bits >= 8:
        step = bits // 8
        return sum(old[at : at + step] != new[at : at + step] for at in range(0, len(old), step))
    one = (1 << bits) - 1
    return sum(
        (a ^ b) >> shift & one != 0
        for a, b in zip(old, new, strict=True)
        for shift in range(0, 8, bits)
    )


@settings(max_examples=150, deadline=None)
@given(drafts())
def test_the_plan_does_what_was_put(case: tuple[bytes, list[Put], int]) -> None:
    content, changes, size = case
    draft, plan = made(content, changes, size)
    wanted = expected(content, changes, size)
    assert draft.new_size == plan.new_size == draft.overlay.size
    assert not any(wanted[plan.new_size :])
    assert draft.overlay.read(0, plan.new_size) == wanted[: plan.new_size]

    assert carried_out(plan, content) == wanted[: plan.new_size]
    draft.close()


@settings(max_examples=100, deadline=None)
@given(drafts())
def test_each_write_is_as_short_as_sectors_allow_and_says_what_it_is(
    case: tuple[bytes, list[Put], int],
) -> None:
    content, changes, size = case
    draft, plan = made(content, changes, size)
    expected(content, changes, size)
    of_reason = {put.reason: put for put in changes}
    for write in in_full(plan, content).writes():
        put = of_reason[write.reason]
        old, new = write.old.read(), write.new.read()
        first_cut = (write.offset // SECTOR + 1) * SECTOR - write.offset
        last_cut = max(0, (write.end - 1) // SECTOR * SECTOR - write.offset)
        assert old[:first_cut] != new[:first_cut]
        assert old[last_cut:] != new[last_cut:]
        assert put.offset <= write.offset
        assert write.end <= put.offset + len(put.new)
        moved = (write.offset - put.offset) * 8 // put.unit_bits if put.unit_bits else 0
        assert write.field.first == 3 + moved
        assert write.field.guest_offset == (1 << 20) + (moved << 16)
    counted = {reason: n for reason, n in plan.reasons().items() if reason != "file.grow"}
    assert counted == {put.reason: put.changed for put in changes if put.changed}
    draft.close()


@settings(max_examples=100, deadline=None)
@given(drafts())
def test_stages_are_kept_apart_by_barriers(case: tuple[bytes, list[Put], int]) -> None:
    draft, plan = made(*case)
    stages: list[set[int]] = [set()]
    for step in plan.steps:
        if isinstance(step, Barrier):
            stages.append(set())
        else:
            reason = step.reason
            stages[-1].add(0 if reason == "file.grow" else int(reason.split(".")[0]))
    assert stages.pop() == set(), "the last stage is synced as well"
    assert all(len(stage) == 1 for stage in stages)
    order = [stage.pop() for stage in stages]
    assert order == sorted(set(order))
    if plan.steps and isinstance(plan.steps[0], Resize):
        assert sum(isinstance(step, Resize) for step in plan.steps) == 1
    draft.close()


def test_nothing_put_is_nothing_to_do() -> None:
    draft, plan = made(b"content" * 100, [], 0)
    assert draft.is_empty
    assert plan.is_empty
    draft.close()


@settings(max_examples=100, deadline=None)
@given(drafts(), st.randoms())
def test_bits_that_nothing_else_changes_may_come_in_any_order(
    case: tuple[bytes, list[Put], int], rng: random.Random
) -> None:
    """Each has a bit of its own in every byte."""
    content, changes, size = case
    for number, put in enumerate(changes):
        put.mask = bytes([1 << number]) * len(put.new)
    rng.shuffle(changes)
    draft, plan = made(content, changes, size)
    wanted = expected(content, sorted(changes, key=lambda put: put.stage), size)
    assert draft.overlay.read(0, plan.new_size) == wanted[: plan.new_size]
    assert carried_out(plan, content) == wanted[: plan.new_size]
    reasons = [int(reason[0]) for reason in plan.reasons() if reason != "file.grow"]
    assert reasons == sorted(reasons)
    draft.close()


@settings(max_examples=100, deadline=None)
@given(
    st.binary(min_size=1, max_size=9),
    st.lists(st.tuples(st.integers(0, 255), st.sampled_from([1, 1 << 63, 7])), max_size=80),
    st.sampled_from([1, 2, 4, 8, 16, 32, 64, 128]),
)
def test_words_are_put_as_their_bytes_are(
    unit: bytes, bits: list[tuple[int, int]], unit_bits: int
) -> None:
    content = (unit * 4096)[:4096]
    old = np.zeros(256, dtype=np.uint64)
    new = old.copy()
    for at, bit in bits:
        old[at], new[at] = (0, bit) if at % 3 else (bit, 0)
    what = Field("l2", 0, unit_bits, 3, 1 << 20, 1 << 16)
    one, other = made(content, [], 0)[0], made(content, [], 0)[0]
    one.put_words(Stage.SWITCH, 1024, old, new, what, "why")
    mask = (old ^ new).astype(">u8").tobytes()
    other.put(Stage.SWITCH, 1024, new.astype(">u8").tobytes(), what, "why", mask=mask)
    assert shown(one.build(), content) == shown(other.build(), content)
    assert one.overlay.read(0, 4096) == other.overlay.read(0, 4096)
    for draft in (one, other):
        draft.close()


def shown(plan: Plan, content: bytes) -> list[object]:
    """The writes of a plan, with their bytes."""
    return [
        (write.offset, write.old.read(), write.new.read(), write.field, write.reason, write.count)
        for write in in_full(plan, content).writes()
    ]


@pytest.mark.parametrize("later", [False, True])
def test_behind_the_end_of_the_file_all_is_put_aside(*, later: bool) -> None:
    """What lies around words there is not in any file yet; a later draft knows the real end."""
    content = bytes(range(256)) * 16
    source: MemorySource | OverlaySource = MemorySource(content)
    if later:
        source = OverlaySource(source)
        source.resize(12_288)
    draft = Draft(SimpleNamespace(source=source, resolver=None), "test")  # type: ignore[arg-type]
    what = Field("refcount_block", 0, 64)
    old = np.zeros(512, dtype=np.uint64)
    new = old.copy()
    new[3] = new[385] = np.uint64(1 << 63)
    draft.grow(12_288)
    draft.put(Stage.NEW, 4096, new.astype(">u8").tobytes(), what, "4.0")
    draft.put_words(Stage.RAISE, 8192 - 2048, old, new, what, "2.0")
    for write in draft.build().writes():
        assert not write.new.in_place
    draft.put_words(Stage.RAISE, 0, old, new, what, "2.1")
    first = next(draft.build().writes())
    assert first.offset == 0
    assert first.new.in_place is (spool._SHORTEST_IN_PLACE == 8)
    draft.close()


def test_of_bytes_without_units_all_are_put_aside() -> None:
    """Whoever shows the change has no other way to them."""
    content = bytes(8192)
    new = content[:9] + b"few" + content[12:6000] + b"others" + content[6006:]
    draft, plan = made(content, [Put(Stage.NEW, 0, new, None, 0, "4.0")], 0)
    (write,) = plan.writes()
    assert (write.old.read(), write.new.read()) == (bytes(6144), new[:6144])
    draft.close()


@pytest.mark.parametrize("unit_bits", [64, 128])
def test_an_entry_of_two_words_is_told_whole(unit_bits: int) -> None:
    """Who shows the change has both of its words, also the one that stays."""
    content = bytes(range(1, 129)) * 64
    draft, _ = made(content, [], 0)
    old = np.frombuffer(content, ">u8").astype(np.uint64)
    new = old.copy()
    for at in (1, 130, 131, 1023):
        new[at] ^= np.uint64(1 << 63)
    draft.put_words(Stage.SWITCH, 0, old, new, Field("l2", 0, unit_bits), "5.0")
    plan = draft.build()
    (write,) = plan.writes()
    assert carried_out(plan, content) == new.astype(">u8").tobytes()
    if write.new.in_place:
        same = bytes(len(content))
        known = np.frombuffer(bytes(write.old.over(same)), ">u8")
        words = [1, 130, 131, 1023] if unit_bits == 64 else [0, 1, 130, 131, 1022, 1023]
        assert np.flatnonzero(known).tolist() == words
        assert (known[words] == old[words]).all()
    draft.close()


def test_an_entry_cut_in_two_by_sectors_is_told_as_far_as_it_is_written() -> None:
    """A table that is not aligned, as damage makes them: what is written are whole sectors."""
    content = bytes(range(1, 129)) * 64
    draft, _ = made(content, [], 0)
    old = np.frombuffer(content[8:], ">u8").astype(np.uint64)
    new = old.copy()
    # The first word of a sector and the last one of another, each half of an entry.
    for at in (63, 510):
        new[at] ^= np.uint64(1 << 63)
    draft.put_words(Stage.SWITCH, 8, old, new, Field("l2", 8, 128), "5.0")
    plan = draft.build()
    (write,) = plan.writes()
    assert (write.offset, write.end) == (512, 4096)
    assert carried_out(plan, content) == content[:8] + new.astype(">u8").tobytes()
    draft.close()


def test_what_was_put_twice_is_what_both_make_of_it() -> None:
    """Of a place that is put once more, only what became of it is looked at."""
    content = bytes(range(256)) * 32
    draft, _ = made(content, [], 0)
    what = Field("refcount_block", 0, 16)
    held = np.frombuffer(content, ">u8").astype(np.uint64)
    raised, lowered = held.copy(), held.copy()
    raised[::16] += np.uint64(1)
    lowered[::16] += np.uint64(1)
    lowered[8::16] -= np.uint64(1)
    draft.put_words(Stage.RAISE, 0, held, raised, what, "2.0")
    draft.put_words(Stage.LOWER, 0, raised, lowered, what, "6.0")
    plan = draft.build()
    assert [(write.reason, write.count) for write in plan.writes()] == [("2.0", 64), ("6.0", 64)]
    assert carried_out(plan, content) == lowered.astype(">u8").tobytes()
    assert draft.overlay.read(0, len(content)) == lowered.astype(">u8").tobytes()
    draft.close()


def test_one_put_over_another_of_its_stage_stays_over_it() -> None:
    above = Put(Stage.NEW, 64, b"b" * 64, None, 0, "4.1")
    draft, plan = made(bytes(512), [Put(Stage.NEW, 96, b"a" * 64, None, 0, "4.0"), above], 0)
    (*_, last, _barrier) = plan.steps
    assert isinstance(last, Write)
    assert last.reason == "4.1"
    assert draft.overlay.read(64, 96) == b"b" * 64 + b"a" * 32
    draft.close()


def test_bytes_put_late_for_an_earlier_stage_are_put_all_of_them() -> None:
    """Also those that were as they should be when they were put."""
    content = bytes(2048)
    early = Put(Stage.RAISE, 0, b"\1" * 2048, None, 8, "2.0")
    late = Put(Stage.SWITCH, 0, bytes(1024) + b"\2" * 1024, None, 8, "5.0")
    again = Put(Stage.LOWER, 0, bytes(512) + b"\1" * 1536, None, 8, "6.0")
    draft, plan = made(content, [early, again, late], 0)
    assert carried_out(plan, content) == bytes(512) + b"\1" * 1536
    draft.close()


def test_zeros_past_the_end_need_no_room() -> None:
    draft, plan = made(b"x" * 512, [Put(Stage.NEW, 256, bytes(4096), None, 0, "4.0")], 0)
    assert plan.new_size == 512
    (write,) = plan.writes()
    assert (write.offset, write.end) == (256, 512)
    draft.close()
