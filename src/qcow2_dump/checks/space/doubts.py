"""Why the sums of a file may not be all there is to say: damage, and what could not be told."""

from dataclasses import dataclass
from typing import Literal

from qcow2_dump.checks.catalogue import RULES, Severity
from qcow2_dump.checks.space.sums import SpaceSums
from qcow2_dump.checks.space.survey import Survey

__all__ = ["Doubt", "DoubtKind", "doubts_of"]

DoubtKind = Literal[
    "damaged",
    "snapshot-records",
    "lost",
    "unreadable-tree",
    "undercounted",
    "overcounted",
    "claimed-twice",
    "crowded",
    "data-file",
]

_LEAD_NOWHERE = (
    "l1.unaligned",
    "l1.beyond-end",
    "l2.unaligned",
    "l2.beyond-end",
    "table.beyond-end",
)


@dataclass(frozen=True, slots=True)
class Doubt:
    """One reason why the sums may not be all.

    ``number`` counts places where the image is ``damaged``, records of snapshots that cannot be
    read, or entries and tables whose clusters are ``lost`` past the end of the file or between
    clusters; else it is a number of bytes. ``tree`` is the position of a tree whose L1 table
    cannot be read. ``all_of_them`` says that no record can be read at all.
    """

    kind: DoubtKind
    number: int = 0
    tree: int | None = None
    all_of_them: bool = False


def doubts_of(survey: Survey, sums: SpaceSums) -> list[Doubt]:
    """What is to be known beside the sums, the worst first."""
    log = survey.facts.log
    damage = [c for c in log.tallies if RULES[c].severity is Severity.CORRUPTION]
    trees = survey.facts.trees
    found = [
        Doubt("damaged", log.places(*damage)),
        _unreadable_records(survey),
        Doubt("lost", log.places(*_LEAD_NOWHERE)),
        Doubt("undercounted", sums.undercounted),
        Doubt("overcounted", sums.overcounted),
        Doubt("claimed-twice", sums.claimed_twice),
        Doubt("crowded", sums.crowded),
    ]
    found = [doubt for doubt in found if doubt.number]
    unknown = [row.tree for row in sums.trees if not row.known and not trees[row.tree].is_blank]
    found += (Doubt("unreadable-tree", tree=tree) for tree in unknown)
    if survey.facts.image.header.has_data_file:
        found.append(Doubt("data-file"))
    return found


def _unreadable_records(survey: Survey) -> Doubt:
    """The snapshot records that the header promises, but that are not there or all zeros."""
    trees, table = survey.facts.trees, survey.facts.image.snapshot_table
    number = table.dropped + sum(tree.is_blank for tree in trees)
    return Doubt("snapshot-records", number, all_of_them=number == table.dropped + len(trees) - 1)
