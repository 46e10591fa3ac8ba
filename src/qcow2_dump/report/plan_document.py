"""The types of the document that a change of an image prints as JSON; its schema follows from them.

Offsets, lengths and sizes are bytes. Names are text in which bytes that are not UTF-8 appear as
``\\xff``. A key is only left out where a class says so.
"""

from typing import Literal, NotRequired, TypedDict

from qcow2_dump.report.document import Status, Totals

__all__ = [
    "ChangeDocument",
    "ChangeFailure",
    "ChangeStatus",
    "GuestLossDocument",
    "PlanDocument",
    "Reason",
    "StateDocument",
    "UndoFileDocument",
    "UndoListDocument",
    "UndoStateName",
    "ValueDocument",
]

ChangeStatus = (
    Status | Literal["done", "planned", "nothing-to-do", "declined", "interrupted", "error"]
)
"""A verdict after `repair`; otherwise what became of the change."""


class ChangeDocument(TypedDict):
    """One change: what a field holds, and what it will hold.

    ``kind`` names the structure at file offset ``table``, ``field`` a field of the header, and
    ``index`` the number of an entry; ``cluster`` is the host cluster that a refcount counts, where
    that is known. ``old`` and ``new`` are integers, or the first bytes in
    hexadecimal where the field is none and where the integer is wider than 64 bits.
    """

    reason: str
    kind: str
    table: int
    field: str | None
    index: int | None
    cluster: int | None
    offset: int
    length: int
    old: int | str
    new: int | str
    guest_offset: int | None
    guest_length: int | None
    text: str


class Reason(TypedDict):
    """Why some changes are made; ``guest`` is what the guest gains or loses by them.

    Both are null for what was asked for to the letter.
    """

    changes: int
    what: str | None
    guest: str | None


class GuestLossDocument(TypedDict):
    """A range of the guest's disk that is given up."""

    guest_offset: int
    guest_length: int
    trees: list[str]
    why: str


class StateDocument(TypedDict):
    """What a check says of the image before a change, or after it."""

    status: Status
    exit_status: int
    totals: Totals


class PlanDocument(TypedDict):
    """A change of an image: what it is made of, and what came of it.

    ``command`` is the line that asks for it. ``changes`` are the first of ``changes_total``.
    ``before`` and ``after`` are null where the image was not checked; after a dry run, ``after``
    is how the image would be. ``undo_file`` is null where there is none, and ``undo_command`` is
    the line that takes the change back with it. ``error`` says why
    nothing was written although there was something to do, or why the image was not looked at
    after the change, and is null otherwise.
    """

    schema: Literal["qcow2-dump.plan/1"]
    image: str
    command: str
    dry_run: bool
    applied: bool
    status: ChangeStatus
    exit_status: int
    changes: list[ChangeDocument]
    changes_total: int
    changes_omitted: int
    reasons: dict[str, Reason]
    bytes_written: int
    size_before: int
    size_after: int
    notes: list[str]
    losses: list[GuestLossDocument]
    losses_total: int
    undo_file: str | None
    undo_command: str | None
    before: StateDocument | None
    after: StateDocument | None
    error: str | None


class ValueDocument(TypedDict):
    """The integer at an offset of the file, as `edit` shows it without a value to store."""

    schema: Literal["qcow2-dump.plan/1"]
    image: str
    offset: int
    width: int
    value: int


UndoStateName = Literal["incomplete", "interrupted", "finished", "rolled-back", "unusable"]


class UndoFileDocument(TypedDict):
    """One undo file: how far its change came, or why it cannot be used. ``size`` is its own.

    ``pointer`` is the file beside the image that points to one elsewhere.
    """

    path: str
    pointer: str | None
    state: UndoStateName
    problem: str | None
    title: str | None
    date: str | None
    size: int


class UndoListDocument(TypedDict):
    """The undo files of an image, the newest first, as `undo --list` shows them."""

    schema: Literal["qcow2-dump.plan/1"]
    image: str
    undo_files: list[UndoFileDocument]


class ChangeFailure(TypedDict):
    """A change that could not be planned or made, or that a signal ended.

    ``errno`` is the system's name for why, if it has one.
    """

    schema: Literal["qcow2-dump.plan/1"]
    image: str
    command: str
    status: Literal["error", "interrupted"]
    exit_status: int
    error: str
    errno: NotRequired[str]
