"""All that `du` finds out about one image."""

from dataclasses import dataclass

from qcow2_dump.checks.space.doubts import Doubt
from qcow2_dump.checks.space.sums import SnapshotSet, SpaceSums
from qcow2_dump.checks.trees import Tree

__all__ = ["Measured"]


@dataclass(frozen=True, slots=True)
class Measured:
    """What fills an image.

    ``trees`` are the active layer and the snapshots, at the positions that ``sums`` names.
    ``allocated`` is what the file system has set aside for the file, in bytes; None where it does
    not tell. ``sets`` is None unless asked for; ``without`` says what the snapshots that were
    named free together.
    """

    trees: list[Tree]
    sums: SpaceSums
    doubts: list[Doubt]
    allocated: int | None
    sets: list[SnapshotSet] | None = None
    without: SnapshotSet | None = None
