"""What a reason for a change is called: the words of the planners, or none for what is asked."""

from qcow2_dump.planners.reasons import REASONS

__all__ = ["for_the_guest", "what_is_done"]


def what_is_done(reason: str) -> str | None:
    """What is changed for a reason, in a sentence; None where there is no more to say."""
    known = REASONS.get(reason)
    return None if known is None else known.what


def for_the_guest(reason: str) -> str | None:
    """What the guest gains or loses by it, in a sentence."""
    known = REASONS.get(reason)
    return None if known is None else known.guest
