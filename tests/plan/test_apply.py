"""Carrying a plan out: all of it or nothing, whatever goes wrong."""

import errno
import os
import signal
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from unittest import mock

import pytest
from hypothesis import given, settings

from qcow2_dump.errors import JournalError, SourceError, StalePlanError, UnsafePlanError
from qcow2_dump.plan.apply import apply_plan, check_plan, redo, take_back
from qcow2_dump.plan.journal import Journal, create_journal, open_journal
from qcow2_dump.plan.model import Barrier, Plan, Resize, Write
from qcow2_dump.plan.recovery import examine
from qcow2_dump.plan.undo_files import find_undo_files
from qcow2_dump.plan.undo_format import UndoState
from qcow2_dump.storage.writable import WritableFile
from tests.plan.disk import Disk, digest, make_plan, result_of
from tests.plan.plans import images_and_plans

CONTENT = bytes(range(256)) * 8
CHANGES: list[tuple[int, bytes] | int | None] = [
    4096,
    None,
    (0, b"first"),
    (600, b"x" * 1000),
    None,
    (3000, b"new" * 100),
    None,
    (2, b"again"),
]


def journal_of(folder: Path, plan: Plan, content: bytes) -> Journal:
    state = digest(Disk(content))
    return create_journal(folder / "disk.qcow2", plan, state_before=state, tool_version="1")


@settings(max_examples=50)
@given(images_and_plans())
def test_a_plan_does_what_it_says(case: tuple[bytes, Plan]) -> None:
    content, plan = case
    disk = Disk(content)
    seen: list[tuple[int, int]] = []
    apply_plan(plan, disk, None, progress=lambda done, total: seen.append((done, total)))
    assert bytes(disk.content) == result_of(plan, content)
    assert disk.stable == disk.content, "synced at the end"
    assert seen == [] or seen[-1] == (plan.bytes_written, plan.bytes_written)


def test_the_undo_file_ends_finished(tmp_path: Path) -> None:
    plan, disk = make_plan(CONTENT, CHANGES), Disk(CONTENT)
    apply_plan(plan, disk, journal_of(tmp_path, plan, CONTENT), digest)
    (known,) = find_undo_files(tmp_path / "disk.qcow2")
    assert known.state is UndoState.FINISHED
    assert known.finish is not None
    assert (known.finish.size, known.finish.state_after) == (4096, digest(disk))


def test_an_undo_file_serves_one_change(tmp_path: Path) -> None:
    plan, disk = make_plan(CONTENT, CHANGES), Disk(CONTENT)
    journal = journal_of(tmp_path, plan, CONTENT)
    apply_plan(plan, disk, journal, digest)
    disk.log.clear()
    with pytest.raises(JournalError, match="already made"):
        apply_plan(make_plan(bytes(disk.content), [(0, b"more")]), disk, journal, digest)
    assert disk.log == []


def test_a_stale_plan_changes_nothing(tmp_path: Path) -> None:
    plan = make_plan(CONTENT, CHANGES)
    changed = bytearray(CONTENT)
    changed[1500] ^= 1
    disk = Disk(changed)
    with pytest.raises(StalePlanError, match="0x5dc are no longer"):
        apply_plan(plan, disk, journal_of(tmp_path, plan, CONTENT), digest)
    assert disk.log == []
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("at", [0, 3, 9])
def test_a_step_that_expects_something_else_than_a_step_before_it_left_is_refused(at: int) -> None:
    """Within what that step wrote, and partly outside of it."""
    plan = make_plan(CONTENT, [(2, b"a step before"), None, (at, b"the next")])
    last = plan.steps[-1]
    assert isinstance(last, Write)
    expected = bytearray(last.old.read())
    expected[7] ^= 1
    plan.steps[-1] = replace(last, old=plan.spool.put(expected))
    disk = Disk(CONTENT)
    with pytest.raises(StalePlanError):
        apply_plan(plan, disk, None)
    assert disk.log == []


def test_what_a_step_before_left_is_as_good_as_read() -> None:
    """The image is not asked for it, and a step may rely on it."""
    plan = make_plan(CONTENT, [(0, b"one")])
    first = plan.steps[0]
    assert isinstance(first, Write)
    second = replace(first, old=first.new, new=plan.spool.put(b"two"))
    plan.steps += [Barrier(), second]
    disk = Disk(CONTENT)
    apply_plan(plan, disk, None)
    assert disk.content == b"two" + CONTENT[3:]


def test_a_file_of_another_length_is_stale() -> None:
    with pytest.raises(StalePlanError, match="no longer"):
        apply_plan(make_plan(CONTENT, CHANGES), Disk(CONTENT + b"\0"), None)


@pytest.mark.parametrize(
    ("changes", "why"),
    [
        ([(2040, b"past the end of it")], "does not fit"),
        ([1000], "cut off data"),
        ([4096, (3000, b"here"), None, 2048], "cut off data"),
    ],
)
def test_an_unsafe_plan_is_refused(changes: list[tuple[int, bytes] | int | None], why: str) -> None:
    plan = make_plan(CONTENT, [])
    disk = Disk(CONTENT)
    plan = make_plan(CONTENT + bytes(64), changes)
    plan.size = len(CONTENT)
    if isinstance(plan.steps[0], Resize):
        plan = make_plan(CONTENT, changes)
    with pytest.raises(UnsafePlanError, match=why):
        apply_plan(plan, disk, None)
    assert disk.log == []


def test_a_device_cannot_grow() -> None:
    disk = Disk(CONTENT)
    disk.can_grow = False
    with pytest.raises(UnsafePlanError, match="block device"):
        apply_plan(make_plan(CONTENT, [4096]), disk, None)


def failing_at(number: int, error: BaseException) -> Callable[[str, int], None]:
    def before(_what: str, calls: int) -> None:
        if calls == number:
            raise error

    return before


def calls_of(plan: Plan) -> int:
    disk = Disk(CONTENT)
    apply_plan(plan, disk, None)
    return disk.calls


@pytest.mark.parametrize("number", range(1, calls_of(make_plan(CONTENT, CHANGES)) + 1))
@pytest.mark.parametrize(
    "error",
    [SourceError(errno.ENOSPC, "no room", "disk.qcow2"), KeyboardInterrupt(), ValueError("what")],
    ids=["full", "interrupt", "bug"],
)
def test_whatever_fails_is_taken_back(tmp_path: Path, number: int, error: BaseException) -> None:
    plan = make_plan(CONTENT, CHANGES)
    for with_journal in (True, False):
        disk = Disk(CONTENT, failing_at(number, error))
        journal = journal_of(tmp_path, plan, CONTENT) if with_journal else None
        with pytest.raises(type(error)):
            apply_plan(plan, disk, journal, digest)
        assert disk.content == disk.stable == CONTENT
        assert list(tmp_path.iterdir()) == []


def test_a_resize_that_fails_after_the_file_grew_is_taken_back(tmp_path: Path) -> None:
    path = tmp_path / "disk.qcow2"
    path.write_bytes(CONTENT)
    ftruncate, failures = os.ftruncate, [OSError(errno.EIO, "Input/output error")]

    def failing_once(fd: int, length: int) -> None:
        if failures:
            raise failures.pop()
        ftruncate(fd, length)

    plan = make_plan(CONTENT, CHANGES)
    journal = journal_of(tmp_path, plan, CONTENT)
    with (
        WritableFile(path) as file,
        mock.patch("os.ftruncate", failing_once),
        pytest.raises(SourceError, match="cannot be resized to 4,096 bytes") as caught,
    ):
        apply_plan(plan, file, journal, digest)
    assert caught.value.__notes__ == ["what was written was taken back, and the image is as it was"]
    assert path.read_bytes() == CONTENT
    assert list(tmp_path.iterdir()) == [path]


def test_a_plan_that_is_refused_notes_that_nothing_was_written() -> None:
    with pytest.raises(StalePlanError) as caught:
        apply_plan(make_plan(CONTENT, CHANGES), Disk(CONTENT + b"\0"), None)
    assert caught.value.__notes__ == ["nothing was written"]


@pytest.mark.parametrize("number", range(1, calls_of(make_plan(CONTENT, CHANGES)) + 1))
def test_a_disk_that_stays_broken_leaves_the_undo_file(tmp_path: Path, number: int) -> None:
    plan = make_plan(CONTENT, CHANGES)

    def before(_what: str, calls: int) -> None:
        if calls >= number:
            raise SourceError(errno.EIO, "cannot write at offset 0x0: broken", "disk.qcow2")

    disk = Disk(CONTENT, before)
    with pytest.raises(JournalError, match=r"qcow2-undo\.1 keeps .* qcow2-dump undo") as caught:
        apply_plan(plan, disk, journal_of(tmp_path, plan, CONTENT), digest)
    assert caught.value.errno == errno.EIO
    disk.before = None
    journal = open_journal(tmp_path / "disk.qcow2.qcow2-undo.1")
    examine(journal, disk, digest).take_back(disk)
    assert disk.content == CONTENT
    assert list(tmp_path.iterdir()) == []


def test_without_an_undo_file_a_broken_disk_is_told() -> None:
    def before(_what: str, _calls: int) -> None:
        raise SourceError(errno.EIO, "broken", "disk.qcow2")

    with pytest.raises(JournalError, match="no undo file"):
        apply_plan(make_plan(CONTENT, CHANGES), Disk(CONTENT, before), None)


def test_a_full_disk_is_not_asked_for_room_to_go_back() -> None:
    """Where a write found no room there is none for the old zeros either."""
    content = bytes(64 << 10)
    full = False

    def before(what: str, calls: int) -> None:
        nonlocal full
        full = full or calls == 2
        if full and what == "write":
            raise SourceError(errno.ENOSPC, "no room", "disk.qcow2")

    disk = Disk(content, before)
    with pytest.raises(SourceError, match="no room"):
        apply_plan(make_plan(content, [None, (4096, b"x" * 5000)]), disk, None)
    assert disk.content == content


def test_what_found_no_room_half_way_is_taken_back_where_it_was_written() -> None:
    class Filling(Disk):
        """The second half of what is written has no room, not even for zeros."""

        def write_at(self, offset: int, data: bytes | bytearray | memoryview) -> None:
            super().write_at(offset, bytes(data)[: max(0, 8192 - offset)])
            if offset + len(data) > 8192:
                raise SourceError(errno.ENOSPC, "no room", "disk.qcow2")

    content = bytes(64 << 10)
    disk = Filling(content)
    with pytest.raises(SourceError, match="no room"):
        apply_plan(make_plan(content, [(4000, b"x" * 9000)]), disk, None)
    assert disk.content == disk.stable == content


def test_an_image_that_changes_meanwhile_is_left_as_somebody_else_made_it(tmp_path: Path) -> None:
    disk = Disk(CONTENT)

    def meddle(what: str, _calls: int) -> None:
        if what == "sync":
            disk.content[3100] = 7

    plan = make_plan(CONTENT.ljust(4096, b"\0"), CHANGES[2:])
    disk = Disk(CONTENT.ljust(4096, b"\0"), meddle)
    with pytest.raises(StalePlanError):
        apply_plan(plan, disk, None)
    theirs = bytearray(CONTENT.ljust(4096, b"\0"))
    theirs[3100] = 7
    assert disk.content == theirs


def test_what_lies_around_words_that_change_is_looked_at_first() -> None:
    new = bytearray(CONTENT)
    new[100], new[1900] = 7, 8
    plan = make_plan(CONTENT, [(0, bytes(new))])
    assert next(plan.writes()).new.in_place
    for place in (101, 1000):
        disk = Disk(CONTENT)
        disk.content[place] ^= 1
        with pytest.raises(StalePlanError):
            apply_plan(plan, disk, None)
        assert disk.log == []


def test_words_that_make_something_else_than_is_said_are_refused() -> None:
    """As an undo file may have it that somebody altered."""
    new = bytearray(CONTENT)
    new[100], new[1900] = 7, 8
    plan = make_plan(CONTENT, [(0, bytes(new))])
    check_plan(plan, Disk(CONTENT), results=True)
    (write,) = plan.writes()
    assert write.new.checksum is not None
    plan.steps = [replace(write, new=write.new._replace(checksum=write.new.checksum ^ 1))]
    check_plan(plan, Disk(CONTENT))
    with pytest.raises(UnsafePlanError, match="not what it says"):
        check_plan(plan, Disk(CONTENT), results=True)


class Meddled(Disk):
    """Somebody changes a byte at the last moment: the second reading is the one before a write."""

    def __init__(self, content: bytes, place: int) -> None:
        super().__init__(content)
        self.place = place
        self.reads = 0

    def read_at(self, offset: int, buffer: memoryview) -> int:
        self.reads += 1
        if self.reads == 2:
            self.content[self.place] ^= 1
        return super().read_at(offset, buffer)


def test_a_word_that_changes_at_the_last_moment_is_not_written_over() -> None:
    new = bytearray(CONTENT)
    new[100], new[1900] = 7, 8
    disk = Meddled(CONTENT, 101)
    with pytest.raises(StalePlanError, match="no longer those of the plan"):
        apply_plan(make_plan(CONTENT, [(0, bytes(new))]), disk, None)
    assert disk.log == []
    assert disk.content[101] == CONTENT[101] ^ 1


@pytest.mark.parametrize("step", [1, 40])
def test_long_writes_are_taken_back_and_finished(step: int) -> None:
    """Longer than what is compared at a time, whole and as words."""
    content = os.urandom(3 << 20)
    start, end = 1000, 1000 + (3 << 19)
    new = bytearray(content)
    for place in range(start, end, step):
        new[place] ^= 0xFF
    plan = make_plan(content, [(start, bytes(new[start:end]))])
    assert next(plan.writes()).new.in_place is (step == 40)
    for have, way, wanted in ((content, redo, bytes(new)), (new, take_back, content)):
        half = bytearray(have)
        half[1 << 20 : 3 << 19] = new[1 << 20 : 3 << 19]
        disk = Disk(half)
        way(plan.steps, disk, lambda: None)
        assert disk.content == disk.stable == wanted
    disk = Disk(content)
    disk.content[5 << 18] ^= 1
    place = start if step == 40 else 5 << 18
    with pytest.raises(StalePlanError, match=f"at offset {place:#x} "):
        apply_plan(plan, disk, None)


def test_what_changes_around_words_at_the_last_moment_stays_changed() -> None:
    """Somebody who ignores locks: a word is written, not what was around it long ago."""
    new = bytearray(CONTENT)
    new[100], new[1900] = 7, 8
    disk = Meddled(CONTENT, 1000)
    apply_plan(make_plan(CONTENT, [(0, bytes(new))]), disk, None)
    new[1000] ^= 1
    assert disk.content == new


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
@pytest.mark.parametrize("again", [False, True])
def test_a_signal_waits_for_the_way_back(number: signal.Signals, again: bool) -> None:
    came: list[int] = []

    class StoppedError(BaseException):
        pass

    def stop(received: int, _frame: object) -> None:
        came.append(received)
        raise StoppedError

    def before(what: str, calls: int) -> None:
        if calls == 6 or (again and calls > 6):
            os.kill(os.getpid(), number)

    disk = Disk(CONTENT, before)
    handler = signal.signal(number, stop)
    try:
        with pytest.raises(StoppedError):
            apply_plan(make_plan(CONTENT, CHANGES), disk, None)
        assert signal.getsignal(number) is stop
    finally:
        signal.signal(number, handler)
    assert came == [number]
    assert disk.content == disk.stable == CONTENT


def test_a_failing_digest_takes_the_change_back(tmp_path: Path) -> None:
    plan, disk = make_plan(CONTENT, CHANGES), Disk(CONTENT)

    def failing(_source: object) -> str:
        raise SourceError(errno.EIO, "cannot read", "disk.qcow2")

    with pytest.raises(SourceError, match="cannot read"):
        apply_plan(plan, disk, journal_of(tmp_path, plan, CONTENT), failing)
    assert disk.content == CONTENT
    assert list(tmp_path.iterdir()) == []


def test_a_finish_mark_that_fails_leaves_a_change_that_can_be_finished(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    plan, disk = make_plan(CONTENT, CHANGES), Disk(CONTENT)
    journal = journal_of(tmp_path, plan, CONTENT)

    def fail(*_arguments: object) -> int:
        raise OSError(errno.EIO, "Input/output error")

    with monkeypatch.context() as patched:
        patched.setattr(os, "pwrite", fail)
        with pytest.raises(JournalError, match="complete, but its undo file was not marked"):
            apply_plan(plan, disk, journal, digest)
    assert disk.content == result_of(plan, CONTENT)
    examine(open_journal(journal.path), disk, digest).finish(disk, digest)
    assert find_undo_files(tmp_path / "disk.qcow2")[0].state is UndoState.FINISHED
