"""Whether an earlier change of an image was interrupted: asked before anything else is done to it.

Nearly always nothing lies beside the image, which one look into its folder tells; only then is
more loaded.
"""

import os
from typing import TYPE_CHECKING

from qcow2_dump.errors import InterruptedChangeError

if TYPE_CHECKING:
    from qcow2_dump.plan.undo_files import UndoFile

__all__ = [
    "UndoNames",
    "interrupted_change",
    "refuse_interrupted",
    "unsettled_change",
    "what_to_do",
]

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


def interrupted_change(image: str) -> "UndoFile | None":
    """The undo file of a change that was begun and neither finished nor taken back, if any.

    A change that is under way just now looks the same. Raises nothing.
    """
    known = unsettled_change(image)
    return known if known is not None and known.is_interrupted else None


def unsettled_change(image: str, names: UndoNames | None = None) -> "UndoFile | None":
    """As `interrupted_change`; where there is none also an undo file that is too damaged to tell.

    Raises nothing.
    """
    try:
        if not (names or UndoNames()).has_any(image):
            return None
    except (OSError, ValueError):  # no path at all
        return None
    from qcow2_dump.plan.undo_files import find_undo_files

    found = find_undo_files(image)
    usable = (known for known in found if known.is_interrupted)
    return next(usable, None) or next((known for known in found if known.is_lost), None)


def what_to_do(known: "UndoFile", image: str) -> str:
    """What an unsettled change of an image is, and the commands that settle it, on one line."""
    if known.is_interrupted:
        return (
            f"a change was interrupted, or is under way, and {known.path} holds what it replaced: "
            f"`{_to_type('undo', image)}` takes it back, "
            f"`{_to_type('undo', image, '--finish')}` brings it to its end"
        )
    if known.state is None:
        what = f"{known.path} cannot be read as an undo file ({known.problem}): a change may have "
        what += "been interrupted"
    else:
        what = f"a change was interrupted, and its undo file {known.path} cannot be used "
        what += f"({known.problem})"
    return (
        f"{what}. Put back a good copy of that file, or move it away once "
        f"`{_to_type('check', image)}` finds the image well"
    )


def _to_type(subcommand: str, image: str, *options: str) -> str:
    """A command on an image, quoted for a shell."""
    from shlex import quote

    operand = f"./{image}" if image.startswith("-") else image
    return " ".join(["qcow2-dump", subcommand, *map(quote, (operand, *options))])


def refuse_interrupted(image: str) -> None:
    """Raise InterruptedChangeError where another change has to be dealt with first."""
    known = unsettled_change(image)
    if known is not None:
        raise InterruptedChangeError(f"{what_to_do(known, image)}; until then nothing is written")
