"""The types of the document that `du --json` prints; its JSON Schema is generated from them.

Sizes and lengths are bytes. Names are text in which bytes that are not UTF-8 appear as ``\\xff``.
"""

from typing import Literal, TypedDict

from qcow2_dump.checks.space.doubts import DoubtKind

__all__ = ["DoubtLine", "DuDocument", "PartSize", "SetSize", "TreeSize"]

PartName = Literal[
    "header",
    "snapshot_table",
    "l1",
    "l2",
    "refcounts",
    "luks",
    "bitmaps",
    "data_active",
    "data_shared",
    "data_snapshots",
    "vm_state",
    "compressed",
    "compressed_slack",
    "leaked",
    "free",
    "tail",
]


class PartSize(TypedDict):
    """A part of the file; all of them together are the whole file, to the byte.

    ``compressed_slack`` is what streams leave unused in clusters that hold nothing else, ``tail``
    what lies behind the last cluster in use.
    """

    part: PartName
    bytes: int


class TreeSize(TypedDict):
    """The active layer (``snapshot`` null) or a snapshot, by its position in the snapshot table.

    ``referenced`` is the sum of ``exclusive`` and ``shared``; tables are counted as well as data,
    and ``vm_state`` is a part of it. ``freed`` is what deleting the snapshot gives back, null for
    the active layer. Of a snapshot whose record or L1 table cannot be read, all of these are null.
    """

    snapshot: int | None
    id: str | None
    name: str | None
    virtual_size: int | None
    referenced: int | None
    exclusive: int | None
    shared: int | None
    vm_state: int | None
    freed: int | None


class SetSize(TypedDict):
    """Snapshots, by position, and what deleting all of them frees; ``only_together`` is the part
    of it that none of them frees alone."""

    snapshots: list[int]
    freed: int
    only_together: int


class DoubtLine(TypedDict):
    """Why the sums may not be all there is to say.

    ``number`` counts places or pointers for the kinds ``damaged`` and ``lost``, records for
    ``snapshot-records``, bytes for others, and is null where there is nothing to count.
    """

    kind: DoubtKind
    number: int | None
    message: str


class DuDocument(TypedDict):
    """What fills an image; parts and trees come biggest first.

    ``length`` is that of the file, ``allocated`` what the file system has set aside for it and
    ``allocated_free`` what of that are clusters that the image does not use; null where it does
    not tell. ``sets`` is null unless asked for with ``--sets``, ``without`` unless with
    ``--without``.
    """

    schema: Literal["qcow2-dump.du/1"]
    image: str
    length: int
    allocated: int | None
    allocated_free: int | None
    cluster_size: int
    parts: list[PartSize]
    trees: list[TreeSize]
    sets: list[SetSize] | None
    without: SetSize | None
    doubts: list[DoubtLine]
