"""Drafts over built images: what they make of an image, and what is found in it then."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path

from qcow2_dump.image.image import Image, open_image
from qcow2_dump.plan.model import Write
from qcow2_dump.plan.overlay import OverlaySource
from qcow2_dump.planners.checked import Checked, check_for_planning
from qcow2_dump.planners.draft import Draft
from tests.builder.built import BuiltImage

Planner = Callable[[Draft, Checked], object]


@dataclass
class Drafted:
    """What a planner did: its result, the writes of its plan, the checks before and after.

    The bytes of the writes are gone; ``data`` is the image as drafted.
    """

    result: object
    writes: list[Write]
    reasons: Counter[str]
    before: Checked
    after: Checked
    data: bytes = field(repr=False)

    def write_to(self, path: Path) -> Path:
        """Write the image as drafted."""
        path.write_bytes(self.data)
        return path

    def codes(self) -> set[str]:
        """What is found in the image as drafted."""
        return set(self.after.result.tallies)

    def word(self, offset: int, width: int = 8) -> int:
        """An integer of the image as drafted."""
        return int.from_bytes(self.data[offset : offset + width], "big")


def drafted(image: BuiltImage, folder: Path, *planners: Planner) -> Drafted:
    """Run planners over a built image, one after the other in one draft."""
    path = image.write_to(folder / "found.qcow2")
    with open_image(path) as opened, closing(Draft(opened, "test")) as draft:
        found = check_for_planning(opened)
        result: object = None
        for planner in planners:
            result = planner(draft, found)
        plan = draft.build()
        overlay = OverlaySource(opened.source, plan)
        data = overlay.read(0, overlay.size)
        # The plan must come to the same image as the draft showed.
        assert data == draft.overlay.read(0, draft.overlay.size)
        after = check_for_planning(Image(overlay, opened.resolver))
        return Drafted(result, list(plan.writes()), plan.reasons(), found, after, data)
