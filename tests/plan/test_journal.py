"""Undo files: what they hold, who may read them, and what is refused."""

import errno
import hashlib
import os
import resource
import stat
import struct
import zlib
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from qcow2_dump.errors import JournalError, Qcow2Error, RequestError, SourceError, UnsafePlanError
from qcow2_dump.plan import journal as journal_module
from qcow2_dump.plan import undo_files, undo_format
from qcow2_dump.plan.apply import apply_plan
from qcow2_dump.plan.journal import Journal, create_journal, latest_change, open_journal
from qcow2_dump.plan.model import Barrier, Field, Plan, Write
from qcow2_dump.plan.recovery import examine
from qcow2_dump.plan.undo_files import find_undo_files
from qcow2_dump.plan.undo_format import PIECE, UndoState
from tests.plan.disk import Disk, digest, make_plan, result_of
from tests.plan.plans import images_and_plans
from tests.support.whole_writes import carried_out, in_full

CONTENT = bytes(range(256)) * 8
CHANGES: list[tuple[int, bytes] | int | None] = [4096, None, (0, b"first"), None, (9, bytes(700))]


def create(image: Path, plan: Plan, content: bytes = CONTENT, **more: object) -> Journal:
    state = digest(Disk(content))
    return create_journal(image, plan, state_before=state, tool_version="1", **more)  # type: ignore[arg-type]


def change(image: Path, disk: Disk, changes: list[tuple[int, bytes] | int | None]) -> str:
    """Apply a change with an undo file; returns its path."""
    plan = make_plan(bytes(disk.content), changes)
    with closing(create(image, plan, bytes(disk.content))) as journal:
        apply_plan(plan, disk, journal, digest)
        return journal.path


@pytest.fixture
def image(tmp_path: Path) -> Path:
    path = tmp_path / "disk.qcow2"
    path.write_bytes(CONTENT)
    return path


# What it holds


def test_it_lies_beside_the_image_for_its_owner_alone(image: Path) -> None:
    plan = make_plan(CONTENT, CHANGES)
    replaced = [(512, 1024)]
    with closing(create(image, plan, replaced=replaced, extra={"header": [1, "x"]})) as journal:
        path = image.with_name("disk.qcow2.qcow2-undo.1")
        assert journal.path == str(path)
        assert stat.S_IMODE(path.stat().st_mode) == 0o600
    (known,) = find_undo_files(image)
    assert (known.number, known.path, known.pointer) == (1, str(path), None)
    assert known.is_interrupted
    assert known.size == path.stat().st_size
    told = known.metadata
    assert told is not None
    assert (told.title, told.image, told.tool_version) == ("a test", "disk.qcow2", "1")
    assert (told.size_before, told.size_after) == (2048, 4096)
    assert told.replaced == ((512, 1024),)
    assert told.extra == {"header": [1, "x"]}
    assert told.state_before == digest(Disk(CONTENT))


def test_a_system_that_takes_less_than_it_is_given_loses_nothing(
    image: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """More parts than the system takes at once, of which it takes some bytes only."""
    content = os.urandom(8 << 10)
    plan = make_plan(content, [(at, bytes([at % 251]) * 2) for at in range(0, 8 << 10, 4)])
    most = 0

    def write(fd: int, parts: list[bytes], at: int) -> int:
        nonlocal most
        most = max(most, len(parts))
        return os.pwrite(fd, b"".join(parts)[:777], at)

    monkeypatch.setattr(os, "pwritev", write)
    with closing(create(image, plan, content)) as made:
        path = made.path
    assert 500 < most <= 1024, "what Linux takes in one call"
    with closing(open_journal(path)) as journal, closing(journal.plan()) as read:
        assert result_of(read, content) == result_of(plan, content)


def test_its_number_counts_up(image: Path) -> None:
    plan = make_plan(CONTENT, CHANGES)
    image.with_name("disk.qcow2.qcow2-undo.7").touch()
    image.with_name("disk.qcow2.qcow2-undo.08").touch()
    image.with_name("other.qcow2.qcow2-undo.9").touch()
    assert create(image, plan).path.endswith("undo.8")
    assert create(image, plan).path.endswith("undo.9")
    assert [known.number for known in find_undo_files(image)] == [7, 8, 9]


def test_a_link_to_the_image_has_the_same_undo_files(image: Path, tmp_path: Path) -> None:
    link = tmp_path / "elsewhere"
    link.mkdir()
    (link / "link").symlink_to(image)
    create(link / "link", make_plan(CONTENT, CHANGES)).close()
    assert [known.number for known in find_undo_files(image)] == [1]


@settings(max_examples=40, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(images_and_plans())
def test_the_plan_comes_back(tmp_path: Path, case: tuple[bytes, Plan]) -> None:
    content, plan = case
    with closing(create(tmp_path / "disk", plan, content)) as made:
        path = made.path
    with closing(open_journal(path)) as journal, closing(journal.plan()) as read:
        assert (read.title, read.size, read.new_size) == (plan.title, plan.size, plan.new_size)
        assert len(read.steps) == len(plan.steps)
        kinds = [step.new.in_place for step in plan.writes()]
        assert [step.new.in_place for step in read.writes()] == kinds
        whole, given = in_full(read, content), in_full(plan, content)
        assert carried_out(read, content) == carried_out(plan, content)
        for step, other in zip(whole.steps, given.steps, strict=True):
            if isinstance(step, Write):
                assert isinstance(other, Write)
                assert (step.offset, step.old.read()) == (other.offset, other.old.read())
                assert step.new.read() == other.new.read()
                assert (step.reason, step.count) == (other.reason, other.count)
                assert step.field == other.field
            else:
                assert step == other
    Path(path).unlink()


def test_a_long_write_comes_back_in_pieces(image: Path) -> None:
    """Nobody who reads it has to hold more than a piece; zeros take no room."""
    data = bytes(PIECE) + b"\7" * 100
    content = bytes(len(data) + 8)
    plan = make_plan(content, [])
    where = Field("l2", 0, 64, 5, 1 << 30, 1 << 16)
    blobs = plan.spool.put(content[8:]), plan.spool.put(data)
    plan.steps = [Write(8, *blobs, where, "because", 44), Barrier()]
    with closing(create(image, plan, content)) as journal:
        assert Path(journal.path).stat().st_size < 5000 + 200 + PIECE
        with closing(journal.plan()) as read:
            first, second, barrier = read.steps
            assert isinstance(first, Write)
            assert isinstance(second, Write)
            assert isinstance(barrier, Barrier)
            assert (first.length, second.length) == (PIECE, 100)
            assert (first.count, second.count) == (44, 0)
            units = PIECE // 8
            guest = (1 << 30) + units * (1 << 16)
            assert second.field == Field("l2", 0, 64, 5 + units, guest, 1 << 16)
            assert result_of(read, content) == result_of(plan, content)


def test_too_many_writes_of_one_place_are_refused(
    image: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Before any of them is laid over another."""
    plan = make_plan(CONTENT, [(0, b"x")] * 101)
    with pytest.raises(UnsafePlanError, match="too many steps"):
        create(image, plan)
    with monkeypatch.context() as careless:
        careless.setattr(journal_module, "are_too_tangled", lambda _steps: False)
        made = create(image, plan)
    with closing(made), pytest.raises(JournalError, match="so many writes of the same place"):
        made.plan()


def test_words_behind_the_end_of_the_file_are_refused(
    image: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nobody could tell after a crash what should lie around them."""
    content = bytes(4096)
    plan = make_plan(content, [8192])
    blobs = plan.spool.put_change(content, content[:9] + b"x" + content[10:])
    write = Write(4096, *blobs, Field("l2", 0), "because", 1)
    plan.steps.append(write)
    with pytest.raises(UnsafePlanError, match="behind the end"):
        create(image, plan, content)
    with monkeypatch.context() as careless:
        careless.setattr(journal_module, "_has_no_place", lambda _plan: False)
        made = create(image, plan, content)
    with closing(made), pytest.raises(JournalError, match="makes no sense"):
        made.plan()


# Where it lies


def test_one_that_lies_elsewhere_is_pointed_to(image: Path, tmp_path: Path) -> None:
    place = tmp_path / "safe" / "mine.undo"
    place.parent.mkdir()
    with closing(create(image, make_plan(CONTENT, CHANGES), undo_file=str(place))) as journal:
        assert journal.path == str(place)
    pointer = image.with_name("disk.qcow2.qcow2-undo.1")
    assert stat.S_IMODE(pointer.stat().st_mode) == stat.S_IMODE(place.stat().st_mode) == 0o600
    (known,) = find_undo_files(image)
    assert (known.path, known.pointer, known.number) == (str(place), str(pointer), 1)
    assert known.is_interrupted
    disk = Disk(CONTENT)
    journal = open_journal(pointer)
    assert journal.pointer == str(pointer)
    examine(journal, disk, digest).take_back(disk)
    assert not place.exists()
    assert not pointer.exists()


def test_one_that_is_named_takes_its_pointer_along(image: Path, tmp_path: Path) -> None:
    place = tmp_path / "mine.undo"
    create(image, make_plan(CONTENT, CHANGES), undo_file=str(place)).close()
    known = undo_files.read_undo_file(place, image)
    assert known.number == 1
    open_journal(known).discard()
    assert list(tmp_path.iterdir()) == [image]
    assert undo_files.read_undo_file(place).number is None


def test_a_relative_path_is_found_from_elsewhere(
    image: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    create(image, make_plan(CONTENT, CHANGES), undo_file="mine.undo").close()
    monkeypatch.chdir("/")
    assert find_undo_files(image)[0].path == str(tmp_path / "mine.undo")


def test_a_file_that_exists_is_not_overwritten(image: Path, tmp_path: Path) -> None:
    with pytest.raises(RequestError, match="exists already"):
        create(image, make_plan(CONTENT, CHANGES), undo_file=str(image))
    target = tmp_path / "victim"
    (tmp_path / "link").symlink_to(target)
    with pytest.raises(RequestError, match="exists already"):
        create(image, make_plan(CONTENT, CHANGES), undo_file=str(tmp_path / "link"))
    assert not target.exists()
    assert image.read_bytes() == CONTENT
    assert find_undo_files(image) == []


def test_a_link_planted_at_its_name_is_not_followed(
    image: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    names = iter([image.with_name("planted"), image.with_name("free")])
    victim = tmp_path / "victim"
    image.with_name("planted").symlink_to(victim)
    # As if it were planted in the moment between looking and making.
    monkeypatch.setattr(journal_module, "next_path", lambda _image: str(next(names)))
    assert create(image, make_plan(CONTENT, CHANGES)).path.endswith("free")
    assert not victim.exists()


@pytest.mark.parametrize("number", [errno.EACCES, errno.EROFS])
def test_a_folder_that_takes_no_files_asks_for_a_path(
    image: Path, tmp_path: Path, number: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    real_open = os.open

    def refuse(path: str, flags: int, mode: int = 0o777) -> int:
        if flags & os.O_CREAT and "qcow2-undo" in str(path):
            raise OSError(number, os.strerror(number))
        return real_open(path, flags, mode)

    monkeypatch.setattr(os, "open", refuse)
    with pytest.raises(RequestError, match="give --undo-file PATH or --no-undo") as caught:
        create(image, make_plan(CONTENT, CHANGES))
    assert caught.value.errno == number
    elsewhere = str(tmp_path / "mine.undo")
    with closing(create(image, make_plan(CONTENT, CHANGES), undo_file=elsewhere)) as journal:
        assert journal.pointer is None
    assert find_undo_files(image) == []


def test_a_device_asks_for_a_path(image: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(journal_module, "is_device", lambda _path: True)
    with pytest.raises(RequestError, match="give --undo-file PATH or --no-undo"):
        create(image, make_plan(CONTENT, CHANGES))
    place = str(image.with_name("mine.undo"))
    with closing(create(image, make_plan(CONTENT, CHANGES), undo_file=place)) as journal:
        assert journal.pointer is None


# Disks that fail


@contextmanager
def files_no_longer_than(size: int) -> Iterator[None]:
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


@pytest.mark.parametrize("room", [0, 100, 512, 700, 5000, PIECE + 1000])
@pytest.mark.parametrize("elsewhere", [False, True])
def test_no_room_for_it_leaves_nothing(image: Path, room: int, elsewhere: bool) -> None:
    plan = make_plan(CONTENT, [3 << 20, None, (0, os.urandom(3 << 20))])
    before = sorted(image.parent.iterdir())
    place = str(image.with_name("mine.undo")) if elsewhere else None
    with files_no_longer_than(room), pytest.raises(SourceError, match="cannot be written"):
        create(image, plan, undo_file=place)
    assert sorted(image.parent.iterdir()) == before


def test_a_failing_sync_leaves_nothing(image: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for failing in range(1, 4):
        calls = 0

        def sync(_fd: int, failing: int = failing) -> None:
            nonlocal calls
            calls += 1
            if calls == failing:
                raise OSError(errno.EIO, "Input/output error")

        with monkeypatch.context() as patched:
            patched.setattr(os, "fsync", sync)
            with pytest.raises(SourceError, match="cannot be written: Input/output"):
                create(image, make_plan(CONTENT, CHANGES))
        assert list(image.parent.iterdir()) == [image]


def test_it_is_on_the_disk_before_it_says_ready(
    image: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    said: list[UndoState | None] = []
    real = os.fsync

    def sync(fd: int) -> None:
        real(fd)
        said.append(find_undo_files(image)[0].state)

    monkeypatch.setattr(os, "fsync", sync)
    create(image, make_plan(CONTENT, CHANGES)).close()
    assert said == [UndoState.PREPARING, UndoState.PREPARING, UndoState.READY]


def test_a_plan_of_too_many_stretches_is_refused(image: Path) -> None:
    plan = make_plan(CONTENT, [None] * 5000)
    with pytest.raises(UnsafePlanError, match="too many steps"):
        create(image, plan)
    assert list(image.parent.iterdir()) == [image]


# Undo


def test_undo_and_undo_of_undo(image: Path) -> None:
    disk = Disk(CONTENT)
    path = change(image, disk, CHANGES)
    changed = bytes(disk.content)
    for wanted in (CONTENT, changed, CONTENT):
        known = latest_change(image, disk, digest)
        assert known is not None
        assert known.path == path
        with (
            closing(open_journal(path)) as journal,
            closing(journal.undo_plan(disk, digest)) as plan,
            closing(create(image, plan, bytes(disk.content))) as new,
        ):
            apply_plan(plan, disk, new, digest)
            path = new.path
        assert disk.content == disk.stable == wanted
    assert [known.state for known in find_undo_files(image)] == [UndoState.FINISHED] * 4


@settings(max_examples=30, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(images_and_plans())
def test_undo_restores_every_byte(tmp_path: Path, case: tuple[bytes, Plan]) -> None:
    content, plan = case
    if plan.is_empty:
        return
    disk, image = Disk(content), tmp_path / "disk"
    with closing(create(image, plan, content)) as journal:
        apply_plan(plan, disk, journal, digest)
        with closing(journal.undo_plan(disk, digest)) as back:
            apply_plan(back, disk, None)
        Path(journal.path).unlink()
    assert disk.content == content


def test_an_image_that_was_used_since_is_not_undone(image: Path) -> None:
    disk = Disk(CONTENT)
    path = change(image, disk, CHANGES)
    for used in (bytes(disk.content) + b"\0", b"X" + bytes(disk.content[1:])):
        with (
            closing(open_journal(path)) as journal,
            pytest.raises(JournalError, match="used since"),
        ):
            journal.undo_plan(Disk(used), digest)
        assert latest_change(image, Disk(used), digest) is None


def test_an_unfinished_change_is_not_undone(image: Path) -> None:
    with (
        closing(create(image, make_plan(CONTENT, CHANGES))) as journal,
        pytest.raises(JournalError, match="not finished"),
    ):
        journal.undo_plan(Disk(CONTENT), digest)


def test_the_latest_change_is_the_highest_number_that_fits(image: Path) -> None:
    disk = Disk(CONTENT)
    change(image, disk, CHANGES)
    second = change(image, disk, [(100, b"second")])
    other = Disk(b"other" * 900)
    third = change(image, other, [(100, b"third")])
    image.with_name("disk.qcow2.qcow2-undo.4").write_bytes(b"rubbish")
    create(image, make_plan(CONTENT, CHANGES)).close()
    known, foreign = (latest_change(image, held, digest) for held in (disk, other))
    assert known is not None
    assert foreign is not None
    assert (known.path, foreign.path) == (second, third)
    assert latest_change(image, Disk(b"neither"), digest) is None


# What is not trusted


@pytest.fixture
def finished(image: Path) -> Path:
    return Path(change(image, Disk(CONTENT), CHANGES))


def refused(path: Path) -> str:
    """Why an undo file is refused, by whoever comes first."""
    with pytest.raises(Qcow2Error) as caught:
        open_journal(path).plan()
    return str(caught.value)


def test_a_truncated_one_is_refused_at_any_length(image: Path, finished: Path) -> None:
    whole = finished.read_bytes()
    for length in (*range(600), *range(600, len(whole), 13), len(whole) - 1):
        finished.write_bytes(whole[:length])
        assert ("truncated" if length else "never completed") in refused(finished)
        (known,) = find_undo_files(image)
        assert not known.is_interrupted
        assert latest_change(image, Disk(CONTENT), digest) is None


def test_one_that_is_too_long_is_refused(finished: Path) -> None:
    finished.write_bytes(finished.read_bytes() + b"\0")
    assert "altered" in refused(finished)


def test_each_altered_byte_is_noticed(finished: Path) -> None:
    whole = finished.read_bytes()
    for at in (*range(0, 520, 3), *range(520, len(whole), 7)):
        altered = bytearray(whole)
        altered[at] ^= 0x40
        finished.write_bytes(altered)
        assert "altered" in refused(finished) or at < 16


@settings(
    max_examples=150, suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None
)
@given(st.data())
def test_what_is_sealed_anew_is_still_looked_at(finished: Path, data: st.DataObject) -> None:
    """Somebody who makes all checksums right gets an error at worst."""
    whole = bytearray(finished.read_bytes())
    head = undo_format.Head.unpack(bytes(whole[:512]))
    parts = {"metadata": (512, head.metadata_length), "body": (512 + head.metadata_length, None)}
    start, length = parts[data.draw(st.sampled_from(sorted(parts)))]
    end = len(whole) if length is None else start + length
    for _ in range(data.draw(st.integers(1, 4))):
        whole[data.draw(st.integers(start, end - 1))] = data.draw(st.integers(0, 255))
    hostile = finished.with_name("hostile")
    hostile.write_bytes(sealed(bytes(whole), head))
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(zlib, "crc32", lambda *_arguments: 0)
        patched.setattr(undo_format, "RECORD", Unsummed)
        try:
            with closing(open_journal(hostile)) as journal, closing(journal.plan()) as plan:
                apply_plan(plan, Disk(CONTENT), None)
        except Qcow2Error:
            pass
        undo_files.read_undo_file(hostile)


class Unsummed:
    """Records whose checksum is whatever it should be."""

    size = undo_format.RECORD.size

    @staticmethod
    def unpack(packed: bytes) -> tuple[int, ...]:
        return (*struct.unpack(">BBHHHIIIIQQQQQQI", packed)[:-1], 0)


def sealed(whole: bytes, head: undo_format.Head) -> bytes:
    """An undo file with the digests that its altered parts have now."""
    sha = hashlib.sha256
    middle = 512 + head.metadata_length
    new = replace(
        head,
        metadata_sum=sha(whole[512:middle]).digest(),
        body_sum=sha(b"".join(records(whole[middle:]))).digest(),
    )
    return new.pack() + whole[512:]


def records(body: bytes) -> Iterator[bytes]:
    """The records of the steps, without the bytes that they sum up."""
    at = 0
    while at < len(body):
        packed = body[at : at + undo_format.RECORD.size]
        try:
            length = undo_format.StepHead.unpack(packed).payload_length
        except (JournalError, struct.error):
            return
        yield packed
        at += len(packed) + length


@pytest.mark.parametrize(
    "metadata",
    [
        b"",
        b"[" * 100_000,
        b"null",
        b"{}",
        b'{"change": [], "names": {}}',
        b'{"change": {"replaced": [[1]]}, "names": {"kinds": [], "reasons": []}}',
        b"9" * 10_000,
        b"\xff\xfe",
    ],
)
def test_metadata_that_makes_no_sense_is_a_problem(image: Path, metadata: bytes) -> None:
    sha = hashlib.sha256
    head = undo_format.Head(
        UndoState.READY,
        bytes(16),
        metadata_length=len(metadata),
        metadata_sum=sha(metadata).digest(),
        body_sum=sha(b"").digest(),
    )
    path = image.with_name("disk.qcow2.qcow2-undo.1")
    path.write_bytes(head.pack() + metadata)
    (known,) = find_undo_files(image)
    assert known.problem is not None
    assert not known.is_interrupted
    assert "metadata" in refused(path)


def test_foreign_files_under_its_name_are_problems(image: Path) -> None:
    made = Path(create(image, make_plan(CONTENT, CHANGES)).path)
    beside = [image.with_name(f"disk.qcow2.qcow2-undo.{number}") for number in range(2, 7)]
    beside[0].write_bytes(b"QFI\xfb" * 1000)
    beside[1].mkdir()
    os.mkfifo(beside[2])
    beside[3].symlink_to(made)
    beside[4].symlink_to("nowhere")
    known = {entry.number: entry for entry in find_undo_files(image)}
    assert known[1].problem is None
    assert "not an undo file" in str(known[2].problem)
    for number, path in enumerate(beside[1:], 3):
        assert "not a regular file" in str(known[number].problem)
        assert "not a regular file" in refused(path)


def test_many_are_looked_at_up_to_a_limit(image: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(undo_files, "_MOST_FILES", 90)
    for number in range(1, 101):
        image.with_name(f"disk.qcow2.qcow2-undo.{number}").touch()
    assert [known.number for known in find_undo_files(image)] == list(range(11, 101))


class TestPointers:
    """A pointer file leads to the undo file that was made with it, and to nothing else."""

    @pytest.fixture
    def pointer(self, image: Path) -> Path:
        place = str(image.with_name("mine.undo"))
        create(image, make_plan(CONTENT, CHANGES), undo_file=place).close()
        return image.with_name("disk.qcow2.qcow2-undo.1")

    def test_each_altered_byte_is_noticed(self, image: Path, pointer: Path) -> None:
        whole = pointer.read_bytes()
        for at in range(len(whole)):
            altered = bytearray(whole)
            altered[at] ^= 1
            pointer.write_bytes(altered)
            assert find_undo_files(image)[0].problem is not None
            assert refused(pointer)

    def test_each_truncation_is_noticed(self, image: Path, pointer: Path) -> None:
        whole = pointer.read_bytes()
        for length in range(1, len(whole)):
            pointer.write_bytes(whole[:length])
            assert find_undo_files(image)[0].problem is not None

    def test_what_it_leads_to_is_none(self, image: Path, pointer: Path) -> None:
        place = image.with_name("mine.undo")
        place.unlink()
        assert "No such file" in str(find_undo_files(image)[0].problem)
        place.symlink_to("/etc/passwd")
        assert "not a regular file" in str(find_undo_files(image)[0].problem)
        place.unlink()
        place.write_bytes(pointer.read_bytes())
        assert "not an undo file" in str(find_undo_files(image)[0].problem)

    def test_it_belongs_to_another_undo_file(self, image: Path, pointer: Path) -> None:
        other = image.with_name("other.undo")
        create(image, make_plan(CONTENT, CHANGES), undo_file=str(other)).close()
        other.rename(image.with_name("mine.undo"))
        assert "of something else" in str(find_undo_files(image)[0].problem)
        assert refused(pointer)
