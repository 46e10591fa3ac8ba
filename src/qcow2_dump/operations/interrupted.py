"""Whether an earlier change of an image was interrupted: asked before anything else is done to it.

Nearly always nothing lies beside the image, which one look into its folder tells; only then is
more loaded.
"""

import os
from typing import TYPE_CHECKING

from qcow2_dump.errors import InterruptedChangeError

if TYPE_CHECKING:
    from qcow2_dump.plan.undo_files import UndoFile

__all__ = ["UndoNames", "interrupted_change", "refuse_interrupted"]

_UNDO = ".qcow2-undo."


class UndoNames:
    """The names of undo files, folder by folder; each folder is read once."""

    def __init__(self) -> None:
        self._folders: dict[str, frozenset[str]] = {}

    def has_any(self, image: str) -> bool:
        """Whether anything beside an image is called like an undo file of it."""
        folder, name = os.path.split(os.path.realpath(image))
        if folder not in self._folders:
            self._folders[folder] = _images_with_undo(folder)
        return name in self._folders[folder]


def _images_with_undo(folder: str) -> frozenset[str]:
    try:
        with os.scandir(folder) as entries:
            names = [entry.name for entry in entries if _UNDO in entry.name]
    except OSError:
        return frozenset()
    return frozenset(name.rpartition(_UNDO)[0] for name in names)


def interrupted_change(image: str, names: UndoNames | None = None) -> "UndoFile | None":
    """The undo file of a change that was begun and neither finished nor taken back, if any.

    A change that is under way just now looks the same. Raises nothing.
    """
    try:
        if not (names or UndoNames()).has_any(image):
            return None
    except (OSError, ValueError):  # no path at all
        return None
    from qcow2_dump.plan.undo_files import find_undo_files

    return next((known for known in find_undo_files(image) if known.is_interrupted), None)


def refuse_interrupted(image: str) -> None:
    """Raise InterruptedChangeError where another change has to be dealt with first."""
    known = interrupted_change(image)
    if known is not None:
        raise InterruptedChangeError(
            f"an earlier change was interrupted, and {known.path} holds what it replaced: "
            "`qcow2-dump undo` takes it back or finishes it, before anything else"
        )
