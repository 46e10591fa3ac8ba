"""After a crash: whatever reached the disk, the change can be taken back, and finished."""

import errno
import os
import random
import signal
import tempfile
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager, suppress
from dataclasses import replace
from functools import partial
from itertools import chain, combinations, count, product
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from qcow2_dump.errors import JournalError, SourceError
from qcow2_dump.plan import recovery as recovery_module
from qcow2_dump.plan.apply import apply_plan
from qcow2_dump.plan.journal import create_journal, open_journal
from qcow2_dump.plan.model import Plan
from qcow2_dump.plan.recovery import Recovery, examine
from qcow2_dump.plan.undo_files import find_undo_files
from qcow2_dump.plan.undo_format import UndoState
from tests.plan.disk import Disk, PowerLossError, digest, make_plan, put, result_of
from tests.plan.plans import images_and_plans

ALL_SUBSETS = 6
NAME = "disk.qcow2"


def write_journal(folder: Path, plan: Plan, content: bytes) -> None:
    create_journal(
        folder / NAME, plan, state_before=digest(Disk(content)), tool_version="1"
    ).close()


@contextmanager
def examined(folder: Path, disk: Disk) -> Iterator[Recovery]:
    journal = open_journal(folder / f"{NAME}.qcow2-undo.1")
    with closing(journal), closing(examine(journal, disk, digest)) as recovery:
        yield recovery


def left_behind(disk: Disk, chance: random.Random) -> Iterator[bytes]:
    """What may be on the disk: all subsets of the waiting writes if few, some torn writes."""
    waiting = disk.waiting
    if len(waiting) <= ALL_SUBSETS:
        sizes = range(len(waiting) + 1)
        for kept in chain.from_iterable(combinations(waiting, size) for size in sizes):
            yield disk.after_power_loss(kept)
    for _ in range(3):
        yield disk.after_power_loss([write for write in waiting if chance.random() < 0.5])
        yield disk.some_torn(chance)


def interrupted(content: bytes, number: int, work: Callable[[Disk], None]) -> tuple[Disk, bool]:
    """A disk on which some work was killed at a call; whether it got to its end before."""
    disk = Disk(content)
    dead = False

    def before(_what: str, calls: int) -> None:
        nonlocal dead
        dead = dead or calls >= number
        if dead:
            # Nothing that a dying program still tries reaches the disk.
            raise PowerLossError

    disk.before = before
    with suppress(PowerLossError):
        work(disk)
    return disk, not dead


def crashes(content: bytes, chance: random.Random, work: Callable[[Disk], None]) -> Iterator[bytes]:
    """Everything that some work killed at any call may leave behind."""
    for number in count(1):
        disk, ended = interrupted(content, number, work)
        yield from dict.fromkeys(left_behind(disk, chance))
        if ended:
            return


SETTINGS = settings(max_examples=15, deadline=None, suppress_health_check=[HealthCheck.too_slow])


@SETTINGS
@given(images_and_plans(), st.randoms(use_true_random=False))
def test_any_crash_can_be_taken_back_and_finished(
    case: tuple[bytes, Plan], chance: random.Random
) -> None:
    content, plan = case
    wanted = result_of(plan, content)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        for left in crashes(content, chance, lambda disk: apply_plan(plan, disk, None)):
            write_journal(folder, plan, content)
            disk = Disk(left)
            with examined(folder, disk) as recovery:
                recovery.take_back(disk)
            assert disk.content == disk.stable == content
            assert list(folder.iterdir()) == []

            write_journal(folder, plan, content)
            disk = Disk(left)
            with examined(folder, disk) as recovery:
                recovery.finish(disk, digest)
            assert disk.content == disk.stable == wanted
            (known,) = find_undo_files(folder / NAME)
            assert known.state is UndoState.FINISHED
            Path(known.path).unlink()


@SETTINGS
@given(images_and_plans(), st.randoms(use_true_random=False), st.sampled_from(["back", "on"]))
def test_a_crash_while_recovering_can_be_recovered_from(
    case: tuple[bytes, Plan], chance: random.Random, way: str
) -> None:
    content, plan = case
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        write_journal(folder, plan, content)

        def recover(disk: Disk) -> None:
            with examined(folder, disk) as recovery:
                if way == "back":
                    recovery.take_back(disk)
                else:
                    recovery.finish(disk, digest)
            assert disk.content == (content if way == "back" else result_of(plan, content))
            # The next run of this test begins with the same undo file.
            for path in folder.iterdir():
                path.unlink()
            write_journal(folder, plan, content)

        first = list(crashes(content, chance, lambda disk: apply_plan(plan, disk, None)))
        for left in chance.sample(first, min(3, len(first))):
            second = list(crashes(left, chance, recover))
            for again in chance.sample(second, min(6, len(second))):
                recover(Disk(again))
                with examined(folder, disk := Disk(again)) as recovery:
                    recovery.take_back(disk)
                assert disk.content == content
                write_journal(folder, plan, content)


@pytest.mark.parametrize("barrier", [False, True])
@pytest.mark.parametrize("second", [0, 8, 15])
def test_words_over_words_are_recovered_from_a_crash_while_recovering(
    tmp_path: Path, second: int, *, barrier: bool
) -> None:
    """Some are changed by both writes, some by one of them; also where words do not line up."""
    content = bytes(range(1, 251)) * 6
    one, other = bytearray(content[:1200]), bytearray()
    for place in (20, 100, 700):
        one[place] ^= 0xFF
    between = bytes(one) + content[1200:]
    other += between[second : second + 1200]
    for place in (20, 300, 701):
        other[place - second] ^= 0x55
    changes = [(0, bytes(one)), *([None] if barrier else []), (second, bytes(other))]
    plan = make_plan(content, changes)
    assert all(write.new.in_place for write in plan.writes())
    wanted = result_of(plan, content)
    chance = random.Random(second)
    write_journal(tmp_path, plan, content)

    def recover(disk: Disk, way: str) -> None:
        with examined(tmp_path, disk) as recovery:
            if way == "back":
                recovery.take_back(disk)
            else:
                recovery.finish(disk, digest)
        assert disk.content == (content if way == "back" else wanted)
        for path in tmp_path.iterdir():
            path.unlink()
        write_journal(tmp_path, plan, content)

    first = dict.fromkeys(crashes(content, chance, lambda disk: apply_plan(plan, disk, None)))
    for left, way in product(first, ("back", "on")):
        for again in dict.fromkeys(crashes(left, chance, partial(recover, way=way))):
            for last in ("back", "on"):
                recover(Disk(again), last)


@pytest.mark.parametrize("done", [False, True])
def test_words_that_make_something_else_than_is_said_are_refused(
    tmp_path: Path, *, done: bool
) -> None:
    new = bytearray(CONTENT)
    new[100], new[1900] = 7, 8
    plan = make_plan(CONTENT, [(0, bytes(new))])
    (write,) = plan.writes()
    plan.steps = [replace(write, new=write.new._replace(checksum=1))]
    write_journal(tmp_path, plan, CONTENT)
    disk = Disk(new if done else CONTENT)
    with pytest.raises(JournalError, match="altered"), examined(tmp_path, disk):
        pass
    assert disk.log == []


def test_no_undo_file_takes_more_room_than_the_image_could_need(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    content = bytes(range(1, 251)) * 6
    content = content[:1496]
    new = bytearray(content)
    new[9] ^= 1
    plan = make_plan(content, [(0, bytes(new)), (0, content), (0, bytes(new))])
    assert all(write.new.in_place for write in plan.writes())
    write_journal(tmp_path, plan, content)
    monkeypatch.setattr(recovery_module, "_ALWAYS_WHOLE", 0)
    for most in (3, 2):
        monkeypatch.setattr(recovery_module, "_MOST_TIMES", most)
        if most == 3:
            with examined(tmp_path, Disk(content)):
                continue
        with pytest.raises(JournalError, match="so many writes"):
            examine(open_journal(tmp_path / f"{NAME}.qcow2-undo.1"), Disk(content), digest)


@SETTINGS
@given(images_and_plans(), st.randoms(use_true_random=False), st.integers(1, 12))
def test_a_crash_on_the_way_back_from_an_error_can_be_recovered_from(
    case: tuple[bytes, Plan], chance: random.Random, failing: int
) -> None:
    content, plan = case

    def fail_then_die(disk: Disk) -> None:
        """Meet an error at one call; the power goes at the call that the disk says."""
        power, calls = disk.before, 0

        def before(what: str, number: int) -> None:
            nonlocal calls
            calls += 1
            if calls == failing:
                raise SourceError(errno.EIO, "broken", "disk.qcow2")
            assert power is not None
            power(what, number)

        disk.before = before
        with suppress(SourceError, JournalError):
            apply_plan(plan, disk, None)

    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        left = list(crashes(content, chance, fail_then_die))
        for state in chance.sample(left, min(15, len(left))):
            write_journal(folder, plan, content)
            disk = Disk(state)
            with examined(folder, disk) as recovery:
                recovery.take_back(disk)
            assert disk.content == content


CONTENT = bytes(range(256)) * 8
CHANGES: list[tuple[int, bytes] | int | None] = [
    4096,
    None,
    (0, b"first"),
    (600, b"x" * 1000),
    None,
    (3000, b"new" * 100),
]


@pytest.mark.parametrize("done", [False, True])
@pytest.mark.parametrize("place", [101, 1000, 1905])
def test_what_was_changed_since_around_words_is_noticed(
    tmp_path: Path, place: int, *, done: bool
) -> None:
    """Also where the digest of the image does not see it."""
    new = bytearray(CONTENT)
    new[100], new[1900] = 7, 8
    plan = make_plan(CONTENT, [(0, bytes(new))])
    assert next(plan.writes()).new.in_place
    path = tmp_path / NAME
    create_journal(path, plan, state_before="blind", tool_version="1").close()
    left = bytearray(new if done else CONTENT)
    left[place] ^= 1
    disk = Disk(left)
    with (
        closing(open_journal(find_undo_files(path)[0])) as journal,
        pytest.raises(JournalError, match="changed since"),
    ):
        examine(journal, disk, lambda _source: "blind")
    assert disk.log == []


@pytest.mark.parametrize("place", [1, 601, 1599, 3010])
def test_an_image_that_was_changed_since_is_not_touched(tmp_path: Path, place: int) -> None:
    plan = make_plan(CONTENT, CHANGES)
    write_journal(tmp_path, plan, CONTENT)
    for base in (CONTENT, result_of(plan, CONTENT)):
        left = bytearray(base)
        put(left, place, b"\xee")
        disk = Disk(left)
        with (
            pytest.raises(JournalError, match=r"qcow2-undo.1: .*changed since"),
            examined(tmp_path, disk),
        ):
            pass
        assert disk.log == []
        assert disk.content == left


def test_both_ways_keep_the_barriers(tmp_path: Path) -> None:
    plan = make_plan(CONTENT, CHANGES)
    write_journal(tmp_path, plan, CONTENT)
    disk = Disk(result_of(plan, CONTENT))
    with examined(tmp_path, disk) as recovery:
        recovery.take_back(disk)
    cut_off = ["sync", "resize", "sync", "sync"]
    assert disk.log == ["write", "sync", "write", "write", "sync", *cut_off]

    write_journal(tmp_path, plan, CONTENT)
    disk = Disk(CONTENT)
    # Only the first step has left a trace.
    disk.content += bytes(100)
    with examined(tmp_path, disk) as recovery:
        recovery.finish(disk, digest)
    grown = ["sync", "resize", "sync", "sync"]
    assert disk.log == [*grown, "write", "write", "sync", "write", "sync"]


def test_another_image_is_not_touched(tmp_path: Path) -> None:
    """All that the change wrote fits; what tells the image from others does not."""
    plan = make_plan(CONTENT, CHANGES)
    write_journal(tmp_path, plan, CONTENT)
    other = bytearray(CONTENT)
    other[2000] ^= 1
    disk = Disk(other)
    with pytest.raises(JournalError, match="of another image"), examined(tmp_path, disk):
        pass
    assert disk.log == []


def test_a_length_that_the_change_does_not_explain_is_refused(tmp_path: Path) -> None:
    write_journal(tmp_path, make_plan(CONTENT, CHANGES), CONTENT)
    disk = Disk(CONTENT + bytes(4096))
    with pytest.raises(JournalError, match="6,144 bytes"), examined(tmp_path, disk):
        pass


@pytest.mark.parametrize("way", ["back", "on"])
def test_a_file_that_was_made_longer_by_half_is_explained(tmp_path: Path, way: str) -> None:
    plan = make_plan(CONTENT, CHANGES)
    write_journal(tmp_path, plan, CONTENT)
    disk = Disk(CONTENT + bytes(512))
    with examined(tmp_path, disk) as recovery:
        if way == "back":
            recovery.take_back(disk)
        else:
            recovery.finish(disk, digest)
    assert disk.content == (CONTENT if way == "back" else result_of(plan, CONTENT))


def test_the_way_back_passes_no_state_that_the_way_on_did_not(tmp_path: Path) -> None:
    """A place that is changed and changed back is not touched when the change never got there."""
    changes: list[tuple[int, bytes] | int | None] = [
        (512, b"one"),
        None,
        (0, b"off"),
        None,
        (1024, b"two"),
        None,
        (0, CONTENT[:3]),
    ]
    plan = make_plan(CONTENT, changes)
    write_journal(tmp_path, plan, CONTENT)
    disk = Disk(CONTENT)
    put(disk.content, 512, b"one")
    with examined(tmp_path, disk) as recovery:
        recovery.take_back(disk)
    assert disk.log.count("write") == 1
    assert disk.content == CONTENT


def test_a_disk_that_ignored_the_barriers_is_taken_back_all_the_same(tmp_path: Path) -> None:
    """What was written last has arrived, what was synced before it has not."""
    plan = make_plan(CONTENT, [(0, b"first"), None, (600, b"second"), None, (1200, b"third")])
    write_journal(tmp_path, plan, CONTENT)
    disk = Disk(CONTENT)
    put(disk.content, 1200, b"third")
    with examined(tmp_path, disk) as recovery:
        recovery.take_back(disk)
    assert disk.content == CONTENT


def test_an_interrupted_recovery_goes_on_later(tmp_path: Path) -> None:
    plan = make_plan(CONTENT, CHANGES)
    write_journal(tmp_path, plan, CONTENT)
    disk = Disk(result_of(plan, CONTENT))

    def interrupt(what: str, _calls: int) -> None:
        if what == "write":
            os.kill(os.getpid(), signal.SIGINT)

    disk.before = interrupt
    with pytest.raises(KeyboardInterrupt), examined(tmp_path, disk) as recovery:
        recovery.take_back(disk)
    assert disk.log.count("write") == 1, "the step that was begun is ended, no other begun"
    (known,) = find_undo_files(tmp_path / NAME)
    assert known.is_interrupted
    disk.before = None
    with examined(tmp_path, disk) as recovery:
        recovery.take_back(disk)
    assert disk.content == CONTENT


def test_only_an_interrupted_change_is_recovered(tmp_path: Path) -> None:
    plan, disk = make_plan(CONTENT, CHANGES), Disk(CONTENT)
    write_journal(tmp_path, plan, CONTENT)
    with closing(open_journal(tmp_path / f"{NAME}.qcow2-undo.1")) as journal:
        journal.finish(4096, "x")
        with pytest.raises(JournalError, match="not interrupted"):
            examine(journal, disk, digest)
