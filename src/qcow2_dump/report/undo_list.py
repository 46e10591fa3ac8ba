"""The undo files of an image, for people and programs."""

from collections.abc import Sequence

from qcow2_dump.plan.undo_files import UndoFile
from qcow2_dump.plan.undo_format import UndoState
from qcow2_dump.report import plan_document as doc
from qcow2_dump.report.commands import command, path
from qcow2_dump.report.escape import one_line, plain, printable
from qcow2_dump.report.units import size

__all__ = ["undo_list_document", "undo_list_lines"]

_STATES: dict[UndoState | None, doc.UndoStateName] = {
    UndoState.PREPARING: "incomplete",
    UndoState.READY: "interrupted",
    UndoState.FINISHED: "finished",
    UndoState.ROLLED_BACK: "rolled-back",
    None: "unusable",
}
_WORDS: dict[doc.UndoStateName, str] = {
    "incomplete": "never completed: nothing was changed by it",
    "interrupted": "interrupted, or under way",
    "finished": "finished",
    "rolled-back": "rolled back: the image is as it was",
    "unusable": "cannot be used",
}


def undo_list_lines(image: str, found: Sequence[UndoFile]) -> list[str]:
    """A line or two for each undo file, and as the last line what to type."""
    if not found:
        return [f"{printable(image)}: there is no undo file beside it"]
    lines = []
    for known in found:
        lines.append(f"{printable(known.path)}: {_WORDS[_state(known)]}, {size(known.size)}")
        if known.problem is not None:
            lines.append(f"  {one_line(known.problem)}")
        elif known.metadata is not None:
            title = printable(known.metadata.title, 80)
            lines.append(f"  {title}, {printable(known.metadata.date, 40)}")
    return [*lines, "", f"next: {command('undo', path(image), '--dry-run')}"]


def undo_list_document(image: str, found: Sequence[UndoFile]) -> doc.UndoListDocument:
    """All that is known of the undo files."""
    return {
        "schema": "qcow2-dump.plan/1",
        "image": plain(image),
        "undo_files": [_document(known) for known in found],
    }


def _document(known: UndoFile) -> doc.UndoFileDocument:
    metadata = known.metadata
    return {
        "path": plain(known.path),
        "pointer": None if known.pointer is None else plain(known.pointer),
        "state": _state(known),
        "problem": None if known.problem is None else plain(known.problem),
        "title": None if metadata is None else plain(metadata.title),
        "date": None if metadata is None else plain(metadata.date),
        "size": known.size,
    }


def _state(known: UndoFile) -> doc.UndoStateName:
    return "unusable" if known.problem is not None else _STATES[known.state]
