"""Repairs planned over built images: what would be written, and what the image is then."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from qcow2_dump.checks.result import CheckResult
from qcow2_dump.image.image import Image, open_image
from qcow2_dump.image.leftovers import Leftovers
from qcow2_dump.plan.model import Write
from qcow2_dump.plan.overlay import OverlaySource
from qcow2_dump.planners.checked import check_for_planning
from qcow2_dump.planners.repairs import RepairChoice, plan_repair
from tests.builder.built import BuiltImage

# More of an image than this is not kept as bytes.
_MOST_BYTES = 32 << 20


@dataclass
class Mended:
    """What a repair comes to: its writes and notes, the image as it would be and its check.

    ``predicted`` is the check that the repair itself promises, ``again`` what a second repair of
    the same kind, which knows of the first, would still change. ``data`` is empty for images too
    large for it.
    """

    writes: list[Write]
    reasons: Counter[str]
    notes: list[str]
    before: CheckResult
    predicted: CheckResult | None
    after: CheckResult
    again: Counter[str]
    grown: int
    kept: tuple[tuple[int, int], ...]
    replaced: tuple[tuple[int, int], ...]
    data: bytes = field(repr=False)

    @property
    def corruptions(self) -> int:
        """Corruptions that are left."""
        return self.after.statistics.corruptions + self.after.statistics.check_errors

    def word(self, offset: int, width: int = 8) -> int:
        """An integer of the mended image."""
        return int.from_bytes(self.data[offset : offset + width], "big")


def mended(
    image: BuiltImage | Path, folder: Path, *, can_grow: bool = True, **choice: Any
) -> Mended:
    """Plan a repair (leaks and errors if nothing is chosen), and check what it comes to."""
    path = image if isinstance(image, Path) else image.write_to(folder / "found.qcow2")
    chosen = RepairChoice(**(choice or {"leaks": True, "errors": True}))
    with open_image(path) as opened:
        proposal = plan_repair(opened, chosen, can_grow=can_grow)
        plan = proposal.plan
        after = Image(OverlaySource(opened.source, plan), opened.resolver)
        size = after.source.size
        after.leftovers = Leftovers(proposal.kept, proposal.replaced)
        again = plan_repair(after, chosen, can_grow=can_grow)
        assert proposal.before is not None
        return Mended(
            writes=list(plan.writes()),
            reasons=plan.reasons(),
            notes=proposal.notes,
            before=proposal.before,
            predicted=proposal.after,
            after=check_for_planning(after, deep=chosen.deep).result,
            again=again.plan.reasons(),
            grown=plan.new_size - plan.size,
            kept=proposal.kept,
            replaced=proposal.replaced,
            data=after.source.read(0, size) if size <= _MOST_BYTES else b"",
        )
