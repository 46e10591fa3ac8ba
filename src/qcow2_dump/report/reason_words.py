"""What a reason for a change is called: the words of the planners, or plain ones for any other."""

from qcow2_dump.report.units import counted

__all__ = ["for_the_guest", "heading"]

_WORDS = {
    "undo": ("taken back", None),
    "finish": ("brought to its end", None),
}


def heading(reason: str, count: int) -> str:
    """What is done for a reason, with the number of changes."""
    words = _WORDS.get(reason)
    return counted(count, "change") + ("" if words is None else f" {words[0]}")


def for_the_guest(reason: str) -> str | None:
    """What the guest gains or loses by it; None where that is nothing."""
    words = _WORDS.get(reason)
    return None if words is None else words[1]
