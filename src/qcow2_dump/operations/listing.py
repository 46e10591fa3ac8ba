"""Lists the metadata of an image in guest order, and judges as much of it as was asked for.

The classic report and `dump` are two ways to show the same run. Whoever lists every entry sees
the tables at once, before anything is checked; whoever asks for what is wrong waits for the check.
"""

import time
from collections.abc import Generator, Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from qcow2_dump.checks.catalogue import RULES, Severity
from qcow2_dump.checks.checker import Checker
from qcow2_dump.checks.listing.bitmaps import list_bitmap
from qcow2_dump.checks.listing.entries import L1Listed, L2Listed, TreeLister
from qcow2_dump.checks.listing.refcounts import list_refcounts
from qcow2_dump.checks.listing.shared import list_shared
from qcow2_dump.checks.mapping.active_layer import ActiveLayer, ClustersElsewhere
from qcow2_dump.checks.mapping.entry_classes import EntryState, count_states
from qcow2_dump.checks.result import CheckResult, TableStatistics, TreeStatistics
from qcow2_dump.checks.settling import settle
from qcow2_dump.checks.trees import Tree, trees_of
from qcow2_dump.events import (
    ActiveSummed,
    BitmapBegun,
    BitmapEnded,
    BitmapsBegun,
    CopiedBegun,
    CopiedEnded,
    HeaderRead,
    ImageChecked,
    ImageOpened,
    LayoutBegun,
    LayoutEnded,
    ListingEvent,
    Progress,
    RefcountsBegun,
    RefcountsEnded,
    SharedBegun,
    SharedEnded,
    SnapshotsBegun,
    TreeBegun,
    TreeEnded,
    WriterSeen,
)
from qcow2_dump.image.image import Image
from qcow2_dump.operations.leftovers import recall
from qcow2_dump.operations.requests import ALL_TREES, DEFAULT_MAX_FINDINGS, DumpWhat
from qcow2_dump.operations.second_look import look_again
from qcow2_dump.operations.selection import select_trees
from qcow2_dump.operations.viewing_info import gather_info
from qcow2_dump.operations.writers import look_for_writer

if TYPE_CHECKING:
    from qcow2_dump.events import Entries

__all__ = ["Listing", "ListingRun"]

# What makes an entry of a mapping table a bad one; COPIED flags have a section of their own.
_ENTRY_CODES = tuple(
    code
    for code, rule in RULES.items()
    if code.startswith(("l1.", "l2."))
    and not code.endswith(".copied")
    and rule.severity is not Severity.NOTE
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Listing:
    """What to list, and what to add to it.

    ``entries`` to list: all, the bad ones, or none but their statistics. ``what`` is the half of
    the metadata, ``snapshot`` selects the trees. A ``report`` has the header, the COPIED flags and
    the clusters with several owners (unless ``owners`` is False), and the sum of the active layer;
    ``layout`` adds the clusters that are not where preallocation puts them. ``deep``,
    ``max_findings`` and ``look_for_backing`` as in `CheckRequest`.
    """

    entries: Literal["all", "bad", "none"]
    what: DumpWhat = "all"
    snapshot: str = ALL_TREES
    report: bool = False
    owners: bool = True
    layout: bool = False
    deep: bool = False
    max_findings: int = DEFAULT_MAX_FINDINGS
    look_for_backing: bool = True


class ListingRun:
    """One listing of one opened image, an iterable over its events.

    Unless refcounts are listed, only the header, the snapshot table, the bitmaps and the chosen
    trees are judged. Raises RequestError when the selector names no tree, SourceError when the
    image cannot be read.
    """

    def __init__(self, image: Image, listing: Listing) -> None:
        self.image = image
        self._listing = listing
        self._trees = select_trees(image, listing.snapshot)
        self._started = time.perf_counter()
        self._checker: Checker | None = None
        self._writer_seen = False
        self._statistics: dict[int | None, TreeStatistics] | None = None
        self._lister = TreeLister(image, bad_only=listing.entries != "all")

    def __iter__(self) -> "Iterator[ListingEvent | Entries]":
        listing = self._listing
        yield ImageOpened(self.image.name, self.image)
        yield from self._look_for_writers()
        if listing.report:
            look = listing.look_for_backing
            yield HeaderRead(gather_info(self.image, look=look, tables=False))
        checker = self._make_checker(self.image)
        if listing.entries != "all":
            yield from self._check(checker)
        if listing.what != "refcounts":
            yield from self._tables(checker)
            yield from self._bitmaps()
        if listing.entries == "all":
            yield from self._check(checker)
        if listing.what != "tables":
            yield from self._refcounts(checker)
        if listing.report:
            yield from self._rest_of_report(checker)
        # Asked again: who came during the walk has changed what was being read.
        yield from self._look_for_writers()
        if self._writer_seen:
            yield self._checked((yield from look_again(self.image, checker, self._make_checker)))
        else:
            yield self._checked(checker.result())

    def interrupted(self) -> ImageChecked | None:
        """The check that was under way when something stopped the run, as far as it had come."""
        checker = self._checker
        if checker is None:
            return None
        return self._checked(settle(checker, None) if self._writer_seen else checker.result())

    def _look_for_writers(self) -> Iterator[WriterSeen]:
        """Say once that there is one, or was."""
        if not self._writer_seen:
            seen = look_for_writer(self.image)
            if seen is not None:
                self._writer_seen = True
                yield seen

    def _make_checker(self, image: Image) -> Checker:
        """A checker of this image, or of the same one read anew."""
        listing = self._listing
        only: Sequence[Tree] | None = None
        if listing.what == "tables":
            same = image is self.image
            only = self._trees if same else select_trees(image, listing.snapshot)
        recall(image)
        return Checker(image, deep=listing.deep, max_findings=listing.max_findings, only=only)

    def _check(self, checker: Checker) -> Iterator[Progress]:
        self._checker = checker
        for step in checker.run():
            yield Progress(step.stage, min(step.done, step.total), step.total)

    def _checked(self, result: CheckResult) -> ImageChecked:
        return ImageChecked(self.image.name, result, time.perf_counter() - self._started)

    def _tables(self, checker: Checker) -> "Iterator[ListingEvent | Entries]":
        """The chosen trees, one after the other, and the list of snapshots."""
        snapshots = self.image.snapshot_table.entries
        trees = list(self._trees)
        if trees and trees[0].is_active:
            yield from self._tree(trees.pop(0), checker)
        if snapshots:
            yield SnapshotsBegun(snapshots)
        for tree in trees:
            yield from self._tree(tree, checker)

    def _tree(self, tree: Tree, checker: Checker) -> "Iterator[ListingEvent | Entries]":
        yield TreeBegun(tree)
        if self._listing.entries == "all":
            summed = yield from _list_tree(self._lister, tree)
        else:
            summed = self._judged(checker)[tree.index]
            # Thousands of snapshots need not be looked through for what the check has not met.
            if self._listing.entries == "bad" and checker.log.places(*_ENTRY_CODES):
                yield from self._lister.entries(tree)
        yield TreeEnded(tree, summed)

    def _judged(self, checker: Checker) -> dict[int | None, TreeStatistics]:
        """The statistics of a finished check by tree."""
        if self._statistics is None:
            self._statistics = {tree.index: tree for tree in checker.result().trees}
        return self._statistics

    def _bitmaps(self) -> "Iterator[ListingEvent | Entries]":
        directory = self.image.bitmap_directory
        if directory is None:
            return
        yield BitmapsBegun(self.image.bitmaps_valid)
        items = directory.entries if self.image.bitmaps_valid else ()
        # Tables of a hostile image may overlap: no more is read than the file holds.
        budget = self.image.source.size
        for item in items:
            yield BitmapBegun(item)
            summed = TableStatistics()
            for listed in list_bitmap(self.image, item, bad_only=self._listing.entries == "bad"):
                _add(summed, count_states(listed.states))
                budget -= 8 * len(listed.raw)
                if self._listing.entries != "none":
                    yield listed
            summed.unused += item.entry.table_size - summed.entries
            yield BitmapEnded(item, summed)
            if budget < 0:
                return

    def _refcounts(self, checker: Checker) -> "Iterator[ListingEvent | Entries]":
        yield RefcountsBegun()
        if self._listing.entries != "none":
            yield from list_refcounts(checker.facts, bad_only=self._listing.entries == "bad")
        yield RefcountsEnded(checker.result())

    def _rest_of_report(self, checker: Checker) -> "Iterator[ListingEvent | Entries]":
        """COPIED flags, clusters with several owners, layout, and the sum of the active layer."""
        listing, facts = self._listing, checker.facts
        active = trees_of(self.image)[0]
        layer = ActiveLayer(facts, active)
        owners = listing.owners and listing.what != "tables"
        listed = owners and listing.entries != "none"
        if owners:
            yield CopiedBegun()
        yield from layer.walk(copied=listed)
        if owners:
            places = facts.log.places
            yield CopiedEnded(places("l1.copied"), places("l2.copied"))
            yield SharedBegun()
            if listed:
                yield from list_shared(facts)
            yield SharedEnded(places("cluster.shared"))
        if listing.layout:
            yield from self._layout(checker, active)
        held = layer.copied_clusters << self.image.geometry.cluster_bits
        yield ActiveSummed(self._preallocation(layer), held)

    def _layout(self, checker: Checker, active: Tree) -> "Iterator[ListingEvent | Entries]":
        applies = not self.image.header.nb_snapshots
        yield LayoutBegun(applies)
        layer = ActiveLayer(checker.facts, active)
        elsewhere = 0
        if applies:
            for found in layer.walk(copied=False, layout=True):
                if isinstance(found, ClustersElsewhere):
                    elsewhere += len(found.indices)
                yield found
        yield LayoutEnded(elsewhere, layer.data_clusters)

    def _preallocation(self, layer: ActiveLayer) -> Literal["off", "metadata", "full"] | None:
        if not layer.is_full:
            return "off"
        on_disk = self.image.source.allocated()
        if on_disk is None:
            return None
        return "metadata" if on_disk < self.image.header.size else "full"


def _list_tree(
    lister: TreeLister, tree: Tree
) -> Generator[L1Listed | L2Listed, None, TreeStatistics]:
    """The entries of a tree; returns the statistics of all of them."""
    summed = TreeStatistics(index=tree.index, examined=tree.usable)
    for listed in lister.entries(tree):
        if isinstance(listed, L1Listed):
            summed.l1.unaligned += listed.state is EntryState.UNALIGNED
            summed.l1.invalid += listed.state is EntryState.INVALID
            summed.l1.used += listed.state is EntryState.USED
        else:
            _add(summed.l2, listed.statistics)
        yield listed
    if tree.usable:
        summed.l1.unused = tree.l1_size - summed.l1.entries
    return summed


def _add(summed: TableStatistics, more: TableStatistics) -> None:
    summed.unaligned += more.unaligned
    summed.invalid += more.invalid
    summed.unused += more.unused
    summed.used += more.used
    summed.compressed += more.compressed
