"""What undo files beside an image tell of earlier changes, for whoever judges its leaks."""

from typing import Any

from qcow2_dump.image.image import Image
from qcow2_dump.image.leftovers import Leftovers, Ranges
from qcow2_dump.operations.interrupted import UndoNames
from qcow2_dump.storage.open_file import OpenFile

__all__ = ["KEPT", "recall"]

KEPT = "kept"
"""The key in the metadata of an undo file under which the leaks stand that a repair kept."""


def recall(image: Image) -> None:
    """Tell an image of a file what is known of earlier changes. Raises nothing.

    That a leak was kept is believed of any undo file: at worst, more is kept. That something was
    given up, and can be freed, is believed only while the image is as that change left it.
    """
    if not isinstance(image.source, OpenFile) or not UndoNames().has_any(image.name):
        return
    from qcow2_dump.image.state_digest import source_digest
    from qcow2_dump.plan.journal import latest_change
    from qcow2_dump.plan.undo_files import find_undo_files

    finished = [known for known in find_undo_files(image.name) if known.finish is not None]
    kept: list[tuple[int, int]] = []
    for known in finished:
        if known.metadata is not None:
            kept += _ranges(known.metadata.extra.get(KEPT))
    replaced: Ranges = ()
    if any(known.metadata is not None and known.metadata.replaced for known in finished):
        last = latest_change(image.name, image.source, source_digest)
        if last is not None and last.metadata is not None:
            replaced = last.metadata.replaced
    image.leftovers = Leftovers(tuple(kept), replaced)


def _ranges(listed: Any) -> Ranges:
    """Byte ranges out of a file that anybody may have written; none where it is no list of them."""
    if not isinstance(listed, list):
        return ()
    pairs = (tuple(pair) for pair in listed if isinstance(pair, list))
    return tuple(pair for pair in pairs if _is_range(pair))


def _is_range(pair: tuple[Any, ...]) -> bool:
    whole = len(pair) == 2 and all(isinstance(number, int) for number in pair)
    return whole and 0 <= pair[0] < pair[1] < 1 << 63
