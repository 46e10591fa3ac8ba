"""Which trees of an image a selector names: the active layer, snapshots, or all of them."""

import re

from qcow2_dump.checks.trees import ACTIVE, Tree, trees_of
from qcow2_dump.errors import RequestError
from qcow2_dump.image.image import Image
from qcow2_dump.image.shown_names import escaped
from qcow2_dump.operations.requests import ALL_TREES

__all__ = ["INACTIVE", "select_snapshot", "select_tree", "select_trees"]

INACTIVE = "inactive"
"""The selector of all snapshots."""

_POSITION = re.compile(r"snapshot\[(\d{1,9})\]")
_LISTED = 8
_SHOWN_NAME = 40


def select_trees(image: Image, selector: str) -> list[Tree]:
    """The trees that a selector names, the active one first, then in the order of their table.

    ``active``, ``inactive`` (all snapshots) and ``all`` come before IDs, exact IDs before names,
    and names before ``snapshot[N]`` with N the position in the table. Raises RequestError for what
    names nothing, or several snapshots at once; it says what there is.
    """
    active, *snapshots = trees_of(image)
    if selector == ALL_TREES:
        return [active, *snapshots]
    if selector == ACTIVE:
        return [active]
    if selector == INACTIVE:
        return snapshots
    return [_one_snapshot(image, snapshots, selector)]


def select_tree(image: Image, selector: str) -> Tree:
    """The one tree that a selector names. Raises RequestError, also for several."""
    if selector in (ALL_TREES, INACTIVE):
        raise RequestError(f"{selector!r} stands for several trees; name one: {_known(image)}")
    return select_trees(image, selector)[0]


def select_snapshot(image: Image, selector: str) -> int:
    """The position in the snapshot table that an ID, a name or ``snapshot[N]`` names.

    The words for several trees mean nothing here, only snapshots that are called so. Raises
    RequestError for what names none, or several at once; it says what there is.
    """
    _, *snapshots = trees_of(image)
    return snapshots.index(_one_snapshot(image, snapshots, selector, also=()))


def _one_snapshot(
    image: Image, snapshots: list[Tree], selector: str, also: tuple[str, ...] = (ACTIVE,)
) -> Tree:
    """The snapshot that a selector names; ``also`` is what else could be named, for messages."""
    records = [entry.record for entry in image.snapshot_table.entries]
    for what, names in (("ID", [r.id for r in records]), ("name", [r.name for r in records])):
        found = _called(names, selector)
        if len(found) > 1:
            listed = ", ".join(f"snapshot[{position}]" for position in found[:_LISTED])
            more = f" and {len(found) - _LISTED} more" if len(found) > _LISTED else ""
            raise RequestError(
                f"{len(found)} snapshots have the {what} {_shown(selector)}: {listed}{more}"
            )
        if found:
            return snapshots[found[0]]
    match = _POSITION.fullmatch(selector)
    if match is not None and int(match[1]) < len(snapshots):
        return snapshots[int(match[1])]
    known = _known(image, also) or "none"
    raise RequestError(f"there is no snapshot {_shown(selector)}; there are: {known}")


def _called(names: list[bytes], selector: str) -> list[int]:
    """The positions of a name as the shell hands it over, else of one that reports show so."""
    try:
        raw = selector.encode("utf-8", "surrogateescape")
    except UnicodeEncodeError:
        return []
    exact = [position for position, name in enumerate(names) if name == raw]
    return exact or [at for at, name in enumerate(names) if _escaped(name) == selector]


def _escaped(name: bytes) -> str:
    return escaped(name.decode("utf-8", "surrogateescape"))


def _known(image: Image, also: tuple[str, ...] = (ACTIVE,)) -> str:
    records = [entry.record for entry in image.snapshot_table.entries]
    shown = [f"ID {_shown(record.id)} {_shown(record.name)}" for record in records[:_LISTED]]
    more = f" and {len(records) - _LISTED} more" if len(records) > _LISTED else ""
    return ", ".join([*also, *shown]) + more


def _shown(name: bytes | str) -> str:
    """An untrusted name in quotes, on one line, with everything unprintable escaped."""
    text = name.decode("utf-8", "surrogateescape") if isinstance(name, bytes) else name
    return f"'{escaped(text if len(text) <= _SHOWN_NAME else text[: _SHOWN_NAME - 1] + '…')}'"
