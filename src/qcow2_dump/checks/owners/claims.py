"""The owners of one host cluster."""

from dataclasses import dataclass, field, replace

from qcow2_dump.checks.findings import Claimant
from qcow2_dump.checks.trees import LISTED_TREES

__all__ = ["GUEST_KINDS", "MOST_CLAIMANTS", "Claims"]

GUEST_KINDS = frozenset({"data", "compressed"})
"""Claims by guest data, as opposed to metadata."""

MOST_CLAIMANTS = 1024
"""How many owners of one cluster are told apart; a hostile image can name millions."""


@dataclass(slots=True)
class Claims:
    """The owners of one cluster: equal claims of several trees are one owner.

    At most ``most`` of them are told apart, but at least one of each kind; ``more`` is True when
    there are others.
    """

    most: int = MOST_CLAIMANTS
    owners: dict[tuple[str, int], Claimant] = field(default_factory=dict)
    kinds: set[str] = field(default_factory=set)
    more: bool = False

    @property
    def total(self) -> int:
        """How many owners there are: at least so many where there are ``more``."""
        return len(self.owners) + self.more

    @property
    def number(self) -> str:
        """The total in words."""
        return f"at least {self.total:,}" if self.more else f"{self.total:,}"

    def takes(self, kind: str) -> bool:
        """Whether another owner of a kind would still be told apart."""
        return len(self.owners) < self.most or kind not in self.kinds

    def add(self, claimant: Claimant) -> None:
        """Add an owner, or more trees to one that is known."""
        guest = claimant.guest_offset
        key = (claimant.kind, claimant.offset if guest is None else guest)
        known = self.owners.get(key)
        if known is not None:
            trees = tuple(dict.fromkeys(known.trees + claimant.trees))[:LISTED_TREES]
            total = known.trees_total + claimant.trees_total
            self.owners[key] = replace(known, trees=trees, trees_total=total)
        elif self.takes(claimant.kind):
            self.owners[key] = claimant
            self.kinds.add(claimant.kind)
        else:
            self.more = True
