"""What a plan wrote, read once more: from the disk, and not from what the system remembers."""

from qcow2_dump.errors import SourceError
from qcow2_dump.plan.comparing import first_difference
from qcow2_dump.plan.model import Plan
from qcow2_dump.plan.overlay import OverlaySource
from qcow2_dump.plan.segments import groups
from qcow2_dump.storage.open_file import OpenFile

__all__ = ["read_back"]

# What the system holds of a file it forgets in pages of its own, which are no larger.
_WINDOW = 16 << 20


def read_back(plan: Plan, source: OpenFile) -> None:
    """Look whether an image is what a plan made of it, all of what was written.

    Raises SourceError where something reads differently, or cannot be read.
    """
    # What was cut off held zeros before, as it reads now: nothing else is.
    running = OverlaySource(source)
    forgotten = 0
    for group in groups(plan.writes()):
        # The first that was written need not be the one that begins first.
        begin = min(write.offset for write in group)
        first = max(forgotten, begin // _WINDOW * _WINDOW)
        for start in range(first, max(write.end for write in group), _WINDOW):
            source.forget(start, _WINDOW)
            forgotten = start + _WINDOW
        for write in reversed(group):
            differs = first_difference(write.new, write.offset, running)
            if differs is not None:
                reason = f"what was written at {differs:#x} reads differently"
                raise SourceError(None, reason, source.name)
            if len(group) > 1:
                # What lay there before it is what the write before left.
                running.put(write.offset, write.old)
