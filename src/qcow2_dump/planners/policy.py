"""How far a change may go beyond what it was made for."""

from dataclasses import dataclass
from enum import Enum

__all__ = ["CopiedPolicy", "Policy"]


class CopiedPolicy(Enum):
    """Which COPIED flags of the active layer are put right.

    What the change itself makes wrong is always cleared.
    """

    ALL = "all"
    """Every flag, set or cleared."""
    WITH_REFCOUNTS = "with refcounts"
    """Every flag, if any refcount changes; else none."""
    CLEAR_DOUBTFUL = "clear"
    """Cleared wherever the refcount is in doubt, never set."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Policy:
    """What may be done about refcounts and COPIED flags.

    ``raise_low`` raises refcounts that are too low; ``rebuild`` replaces refcount blocks and tables
    that are unusable. ``lower_waste`` lowers what triage calls waste, ``lower_orphans`` all the
    rest as well. ``release`` lowers what the change itself gives up: clusters that its own entries
    accounted for completely; ``wary`` frees nothing then while anything speaks for its being
    needed, also in an image without leaks. ``flags`` clears the dirty and the corrupt flag once
    they are wrong.
    """

    raise_low: bool = False
    rebuild: bool = False
    lower_waste: bool = False
    lower_orphans: bool = False
    release: bool = False
    wary: bool = False
    copied: CopiedPolicy = CopiedPolicy.ALL
    flags: bool = False
