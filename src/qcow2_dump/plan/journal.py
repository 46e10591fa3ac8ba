"""The undo file of a change: with it the change can be taken back, or finished after a crash.

It is complete and on the disk before the first byte of the image is written (repair rules,
section 5). The digests of the image are the caller's: a function of a source, whose result is
kept and compared. It has to cover whatever tells two images, or two states of one, apart.
"""

import hashlib
import os
import secrets
from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
from dataclasses import replace
from datetime import UTC, datetime
from itertools import chain
from pathlib import Path
from typing import Any

from qcow2_dump.errors import JournalError, RequestError, SourceError, UnsafePlanError
from qcow2_dump.plan.model import Plan, Step, Write
from qcow2_dump.plan.overlay import OverlaySource
from qcow2_dump.plan.segments import are_too_tangled
from qcow2_dump.plan.spool import Spool
from qcow2_dump.plan.target import Readable
from qcow2_dump.plan.undo_files import (
    UndoFile,
    create_file,
    find_undo_files,
    is_device,
    make_pointer,
    next_path,
    open_regular,
    read_head,
    read_undo_file,
    remove_file,
    sync_folder,
    telling,
    write_all,
    write_parts,
)
from qcow2_dump.plan.undo_format import (
    HEAD_LENGTH,
    MOST_GROUPS,
    MOST_STEPS,
    RECORD,
    FinishMark,
    Head,
    Names,
    StepHead,
    UndoMetadata,
    UndoState,
    pack_metadata,
    pack_step,
    pieces,
)
from qcow2_dump.storage.base import ByteSource
from qcow2_dump.storage.write_behind import WriteBehind

__all__ = ["Digest", "Journal", "create_journal", "latest_change", "open_journal"]

Digest = Callable[[ByteSource], str]
"""Tells states of an image apart: ASCII, at most 128 characters."""

_TRIES = 100
# Bytes and parts of the undo file written in one go; the system takes no more than 1,024 parts.
_AT_ONCE = 1 << 20
_MOST_PARTS = 1000


class Journal:
    """An undo file, open. ``path`` is its own, ``pointer`` that of the file that names it.

    ``is_found`` says that it or its pointer lies beside the image, where later runs find it.
    """

    def __init__(
        self, fd: int, path: str, pointer: str | None, parts: "_Parts", *, beside: bool
    ) -> None:
        self.path = path
        self.pointer = pointer
        self.is_found = beside or pointer is not None
        self._fd = fd
        self._head, self.metadata, self._names = parts

    @property
    def state(self) -> UndoState:
        """How far the change has come."""
        return self._head.state

    def plan(self) -> Plan:
        """The change that was made, every checksum verified.

        Raises JournalError that says whether the file is truncated or altered; SourceError.
        """
        spool = Spool()
        try:
            with telling("the undo file cannot be read", self.path):
                steps = list(self._steps(spool))
            if are_too_tangled(steps):
                raise self._refused("altered: no plan has so many writes of the same place")
            plan = Plan(self.metadata.title, self.metadata.size_before, steps, spool)
            if _has_no_place(plan):
                raise self._refused("altered: a step makes no sense")
            if plan.new_size != self.metadata.size_after:
                raise self._refused("altered: its steps and its metadata disagree")
        except BaseException:
            spool.close()
            raise
        return plan

    def undo_plan(self, image: Readable, digest: Digest) -> Plan:
        """What takes the finished change back, to be applied with a journal of its own.

        Raises JournalError when the change is not finished, or the image no longer is as the
        change left it.
        """
        if self.state is not UndoState.FINISHED:
            raise self._refused("the change is not finished")
        mark = self._head.finish
        seen = OverlaySource(image)
        if seen.size != mark.size or digest(seen) != mark.state_after:
            raise self._refused(
                "the image was used since: taking the change back would lose what was written"
            )
        plan = self.plan()
        return plan.inverse(f"Take back: {plan.title}", "undo")

    def finish(self, size: int, state_after: str) -> None:
        """Say that all is written and on the disk, and how it left the image.

        Raises SourceError; then the change counts as finished or as interrupted.
        """
        self._mark(
            replace(self._head, state=UndoState.FINISHED, finish=FinishMark(size, state_after))
        )

    def discard(self) -> None:
        """Remove the file of a change that was not made, or taken back. Raises nothing.

        A file that cannot be removed stays, marked as rolled back.
        """
        with suppress(SourceError):
            self._mark(replace(self._head, state=UndoState.ROLLED_BACK))
        gone = remove_file(self.path)
        # The pointer must not be lost while it leads to what looks like an interrupted change.
        if self.pointer is not None and (gone or self.state is UndoState.ROLLED_BACK):
            remove_file(self.pointer)
        self.close()

    def close(self) -> None:
        """Let go of the file; closing twice does nothing."""
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1

    def _mark(self, head: Head) -> None:
        with telling("the undo file cannot be marked", self.path):
            write_all(self._fd, head.pack(), 0)
            os.fsync(self._fd)
        self._head = head

    def _refused(self, why: str) -> JournalError:
        return JournalError(f"{self.path}: {why}")

    def _steps(self, spool: Spool) -> Iterator[Step]:
        """The steps, one by one; what they sum up to is known with the last."""
        head = self._head
        whole, groups = hashlib.sha256(), 0
        at, end = HEAD_LENGTH + head.metadata_length, head.length
        for _ in range(head.steps):
            packed = self._read(at, RECORD.size, end)
            try:
                record = StepHead.unpack(packed)
                payload = self._read(at + len(packed), record.payload_length, end)
                step = record.step(payload, self._names, spool)
            except JournalError as error:
                raise self._refused(str(error)) from error
            whole.update(packed)
            at += len(packed) + len(payload)
            groups += not isinstance(step, Write)
            yield step
        if at != end or whole.digest() != head.body_sum or groups > MOST_GROUPS:
            raise self._refused("altered: the checksum of its steps is wrong")

    def _read(self, at: int, length: int, end: int) -> bytes:
        if at + length > end:
            raise self._refused("altered: its steps do not fit into it")
        data = os.pread(self._fd, length, at)
        if len(data) != length:
            raise self._refused("truncated while it is read")
        return data


_Parts = tuple[Head, UndoMetadata, Names]


def create_journal(
    image: str | os.PathLike[str],
    plan: Plan,
    *,
    state_before: str,
    tool_version: str,
    replaced: Iterable[tuple[int, int]] = (),
    extra: dict[str, Any] | None = None,
    undo_file: str | None = None,
) -> Journal:
    """Make the undo file of a plan: complete and on the disk, so that the plan can be applied.

    It lies beside the image, or at ``undo_file``, with a file beside the image that points there
    where one can be made. ``state_before`` is the caller's digest of the image as it is;
    ``replaced`` are byte ranges of the image that hold nothing of use once the plan is applied.

    Raises RequestError for a block device, or a folder that takes no files, without ``undo_file``,
    and for an ``undo_file`` that is there already; UnsafePlanError for a plan of too many steps;
    SourceError (ENOSPC, ...), with a note that the image is untouched. Then no file is left behind.
    """
    place = os.path.realpath(image)
    if undo_file is None and is_device(place):
        raise RequestError(
            "no undo file can lie beside a block device: give --undo-file PATH or --no-undo"
        )
    metadata = UndoMetadata(
        title=plan.title,
        image=Path(place).name,
        tool_version=tool_version,
        date=datetime.now(UTC).isoformat(timespec="seconds"),
        size_before=plan.size,
        size_after=plan.new_size,
        state_before=state_before,
        replaced=tuple(replaced),
        extra=extra or {},
    )
    fd, path = _create_beside(place) if undo_file is None else _create_at(undo_file)
    pointer = None
    try:
        identity = secrets.token_bytes(16)
        names = Names.of(plan)
        head = Head(UndoState.PREPARING, identity)
        with telling("the undo file cannot be written", path):
            write_all(fd, head.pack(), 0)
        if undo_file is not None:
            pointer = _point(place, path, identity)
        with telling("the undo file cannot be written", path):
            head = _write_body(fd, head, plan, metadata, names)
            os.fsync(fd)
            sync_folder(path)
            # Only a file that is complete on the disk says that it is.
            write_all(fd, replace(head, state=UndoState.READY).pack(), 0)
            os.fsync(fd)
    except BaseException as error:
        os.close(fd)
        for made in (path, pointer):
            if made is not None:
                remove_file(made)
        error.add_note("nothing was written to the image")
        raise
    parts = (replace(head, state=UndoState.READY), metadata, names)
    return Journal(fd, path, pointer, parts, beside=undo_file is None)


def open_journal(where: str | os.PathLike[str] | UndoFile) -> Journal:
    """Open an undo file, or the one that a pointer file names; its steps are not read yet.

    An `UndoFile` as it was found is opened with its pointer file, which goes when it goes.
    Raises JournalError when it is none, altered, truncated or was never completed; SourceError.
    """
    beside = False
    if isinstance(where, UndoFile):
        beside = where.number is not None
        where = where.pointer or where.path
    known = read_undo_file(where)
    if known.problem is not None:
        raise JournalError(f"{known.path}: {known.problem}")
    try:
        fd = open_regular(known.path, os.O_RDWR)
    except SourceError:
        # One that cannot be marked can still tell how to take a change back.
        fd = open_regular(known.path)
    try:
        with telling("the undo file cannot be read", known.path):
            head, metadata, names = read_head(fd)
        if metadata is None:
            raise JournalError("it was never completed, so that nothing was changed")
    except JournalError as error:
        os.close(fd)
        raise JournalError(f"{known.path}: {error}") from error
    except BaseException:
        os.close(fd)
        raise
    parts = (head, metadata, names)
    return Journal(fd, known.path, known.pointer, parts, beside=beside)


def latest_change(path: str | os.PathLike[str], image: Readable, digest: Digest) -> UndoFile | None:
    """The undo file of the last finished change that left the image as it is now, if any."""
    seen = OverlaySource(image)
    state = None
    for known in reversed(find_undo_files(path)):
        if known.finish is None or known.finish.size != image.size:
            continue
        state = digest(seen) if state is None else state
        if state == known.finish.state_after:
            return known
    return None


def _create_beside(image: str) -> tuple[int, str]:
    for _ in range(_TRIES):
        path = next_path(image)
        with suppress(FileExistsError):
            return create_file(path, beside=True), path
    raise JournalError("undo files appear faster than one can be made")


def _create_at(path: str) -> tuple[int, str]:
    # The path is kept for later runs, which start elsewhere.
    folder, name = os.path.split(os.fspath(path))
    place = str(Path(os.path.realpath(folder)) / name)
    try:
        return create_file(place, beside=False), place
    except FileExistsError as error:
        raise RequestError(f"{path} exists already: an undo file must be a new one") from error


def _point(image: str, path: str, identity: bytes) -> str | None:
    """Leave a pointer file beside the image; None where no file can lie there."""
    if is_device(image):
        return None
    for _ in range(_TRIES):
        try:
            return make_pointer(image, path, identity)
        except FileExistsError:
            continue
        except RequestError:
            return None
    return None


def _write_body(fd: int, head: Head, plan: Plan, metadata: UndoMetadata, names: Names) -> Head:
    """Write metadata and steps; returns the head that seals them. Raises OSError."""
    described = pack_metadata(metadata, names)
    write_all(fd, described, HEAD_LENGTH)
    start = at = HEAD_LENGTH + len(described)
    steps = list(chain.from_iterable(map(pieces, plan.steps)))
    _check_recoverable(steps)
    if _has_no_place(plan):
        raise UnsafePlanError("the change has words behind the end of the file")
    whole, behind = hashlib.sha256(), WriteBehind(fd)
    waiting: list[bytes] = []
    length = 0
    for step in steps:
        record = pack_step(step, names)
        # It has the checksum of its bytes.
        whole.update(record[0])
        waiting += record
        length += sum(map(len, record))
        if length >= _AT_ONCE or len(waiting) > _MOST_PARTS:
            at, length = _write_waiting(fd, waiting, at, behind), 0
    at = _write_waiting(fd, waiting, at, behind)
    return replace(
        head,
        metadata_length=len(described),
        metadata_sum=hashlib.sha256(described).digest(),
        body_length=at - start,
        steps=len(steps),
        body_sum=whole.digest(),
    )


def _write_waiting(fd: int, waiting: list[bytes], at: int, behind: WriteBehind) -> int:
    """Write some bytes at an offset, all in one, and forget them; returns where they end."""
    end = write_parts(fd, waiting, at)
    waiting.clear()
    behind.wrote(at, end)
    return end


def _has_no_place(plan: Plan) -> bool:
    """Whether words change where nothing lies around them yet: what is there nobody could tell."""
    return any(write.new.in_place and write.end > plan.size for write in plan.writes())


def _check_recoverable(steps: list[Step]) -> None:
    """Refuse what could be written down but not be told apart after a crash."""
    groups = sum(not isinstance(step, Write) for step in steps)
    if len(steps) > MOST_STEPS or groups > MOST_GROUPS or are_too_tangled(steps):
        raise UnsafePlanError("the change has too many steps for an undo file")
