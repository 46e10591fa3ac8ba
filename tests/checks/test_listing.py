"""What the listings say of an entry is what the check finds wrong with it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest

from qcow2_dump.checks.catalogue import RULES
from qcow2_dump.checks.checker import Checker
from qcow2_dump.checks.listing.entries import L1Listed, L2Listed, TreeLister
from qcow2_dump.checks.listing.refcounts import BlockListed, RefcountsListed, list_refcounts
from qcow2_dump.checks.listing.shared import list_shared
from qcow2_dump.checks.mapping.active_layer import ActiveLayer, WrongCopied
from qcow2_dump.checks.mapping.entry_classes import EntryState
from qcow2_dump.checks.trees import trees_of
from qcow2_dump.errors import FormatError
from qcow2_dump.image.image import Image, open_image
from tests.builder.build import build
from tests.builder.built import BuiltImage
from tests.builder.example import Example
from tests.builder.sound_specs import SOUND_SPECS
from tests.builder.spec import Data, ImageSpec, SnapshotSpec
from tests.builder.std import std_image
from tests.builder.std_examples import STD_EXAMPLES
from tests.corpus.cases import Case, fixed_cases, materialize

# Told of a table as a whole, of its content, or when all leaks are known.
NOT_OF_ENTRIES = {"l2.misread", "l2.stream", "l2.wiped", "l2.empty", "l1.copied", "l2.copied"}
# Whether an entry lies behind the disk depends on the tree; the check tells what no disk reaches.
BY_TREE = {"l2.beyond-size"}

Found = set[tuple[str, int]]


@pytest.fixture
def opened(tmp_path: Path) -> Iterator[Callable[[BuiltImage], Image]]:
    """Opens built images, and closes them at the end."""
    images: list[Image] = []

    def open_built(built: BuiltImage) -> Image:
        images.append(open_image(built.write_to(tmp_path / f"{len(images)}.qcow2")))
        return images[-1]

    yield open_built
    for image in images:
        image.close()


def check(image: Image) -> Checker:
    """A check that keeps everything it finds."""
    checker = Checker(image, max_findings=10**6)
    for _ in checker.run():
        pass
    return checker


def listed_faults(image: Image, *, bad_only: bool = False) -> Found:
    """Code and file offset of what is wrong with the mapping entries of all trees."""
    found: Found = set()
    lister = TreeLister(image, bad_only=bad_only)
    for tree in trees_of(image):
        for listed in lister.entries(tree):
            if isinstance(listed, L1Listed):
                found |= {(code, listed.place) for code in listed.faults}
                found |= _place_codes("l1", listed.state, listed.place)
            else:
                found |= _table_faults(listed, image.geometry.l2_entry_size)
    return found


def _place_codes(table: str, state: int, place: int) -> Found:
    codes = {EntryState.UNALIGNED: f"{table}.unaligned", EntryState.INVALID: f"{table}.beyond-end"}
    return {(codes[EntryState(state)], place)} if state in codes else set()


def _table_faults(table: L2Listed, width: int) -> Found:
    found: Found = set()
    for code, mask in table.faults.items():
        shown = np.intersect1d(np.flatnonzero(mask), table.rows)
        found |= {(code, table.parent.offset + width * int(row)) for row in shown}
    for row in table.rows.tolist():
        place = table.parent.offset + width * row
        found |= _place_codes("l2", int(table.states[row]), place)
    return found


def told_by_the_check(checker: Checker) -> Found:
    """The same from the findings; an entry that is two things is listed as the worse one."""
    found = {
        (finding.code.removesuffix("-zero"), finding.offset)
        for finding in checker.result().findings
        if finding.code.startswith(("l1.", "l2.")) and finding.code not in NOT_OF_ENTRIES
        if finding.offset is not None
    }
    for table, first, second in (
        ("l1", "unaligned", "beyond-end"),
        ("l2", "beyond-end", "unaligned"),
    ):
        both = {place for code, place in found if code == f"{table}.{first}"}
        found -= {(f"{table}.{second}", place) for place in both}
    return found


def assert_the_same(image: Image) -> None:
    """Everything that a check says of entries, the listings say, and no more."""
    checker = check(image)
    told = told_by_the_check(checker)
    notes = {code for code, rule in RULES.items() if rule.severity == "note"}
    listed = listed_faults(image)
    # Curiosities are shown only of entries that are shown for another reason.
    assert {f for f in listed if f[0] not in notes | BY_TREE} == {
        f for f in told if f[0] not in notes | BY_TREE
    }
    assert {f for f in listed if f[0] in notes} <= told
    assert {f for f in told if f[0] in BY_TREE} <= listed
    bad = listed_faults(image, bad_only=True)
    assert {f for f in bad if f[0] not in notes} == {f for f in listed if f[0] not in notes}
    assert_refcounts(image, checker)
    assert_owners(checker)


def assert_refcounts(image: Image, checker: Checker) -> None:
    """Leaks, low refcounts and bad table entries, of the file's clusters."""
    facts = checker.facts
    low, leak, bad_blocks = set(), set(), set()
    for listed in list_refcounts(facts, bad_only=True):
        if isinstance(listed, BlockListed) and listed.is_bad:
            bad_blocks.add(listed.place)
        # What cannot be read is told of the block, not of each cluster.
        if isinstance(listed, RefcountsListed) and listed.parent.readable:
            clusters = listed.rows + listed.first
            inside = clusters < facts.clusters
            states = listed.states[listed.rows]
            leak |= set(clusters[(states == 2) & inside].tolist())
            low |= set(clusters[(states == 3) & inside].tolist())
    findings = checker.result().findings
    assert low == {f.cluster for f in findings if f.code == "refcount.low"}
    assert leak == {f.cluster for f in findings if f.code == "refcount.leak"}
    codes = ("refcount.table-reserved", "refcount.table-unaligned", "refcount.block-beyond-end")
    assert bad_blocks == {f.offset for f in findings if f.code in codes}


def assert_owners(checker: Checker) -> None:
    """Clusters with several owners, and wrong COPIED flags of tables that are tables."""
    findings = checker.result().findings
    shared = {f.cluster: len(f.claimants) for f in findings if f.code == "cluster.shared"}
    assert {s.cluster: len(s.owners[:64]) for s in list_shared(checker.facts)} == shared
    layer = ActiveLayer(checker.facts, trees_of(checker.facts.image)[0])
    wrong: set[tuple[int | None, int]] = set()
    for found in layer.walk(copied=True):
        assert isinstance(found, WrongCopied)
        wrong |= {(found.l1_index, index) for index in found.indices.tolist()}
    copied = [f for f in findings if f.code in ("l1.copied", "l2.copied")]
    # A table that serves several L1 indices is one place to the check.
    assert wrong >= {(None, f.l1_index) for f in copied if f.code == "l1.copied"}
    entries = {f.l2_index for f in copied if f.code == "l2.copied"}
    assert {index for l1_index, index in wrong if l1_index is not None} == entries


@pytest.mark.parametrize("name", sorted(SOUND_SPECS))
def test_sound_images(name: str, opened: Callable[[BuiltImage], Image]) -> None:
    assert_the_same(opened(build(SOUND_SPECS[name])))


@pytest.mark.parametrize("example", STD_EXAMPLES, ids=lambda example: example.id)
def test_worked_examples(example: Example, tmp_path: Path) -> None:
    path = example.make().write_to(tmp_path / "t.qcow2")
    try:
        image = open_image(path)
    except FormatError:  # a header that cannot be interpreted, and nothing else
        return
    with image:
        assert_the_same(image)


@pytest.mark.parametrize("case", fixed_cases()[1::6], ids=lambda case: case.name)
def test_damaged_images(case: Case, tmp_path: Path) -> None:
    try:
        image = open_image(materialize(case, tmp_path))
    except FormatError:  # a header that cannot be interpreted, and nothing else
        return
    with image:
        assert_the_same(image)


def test_guest_order_and_addresses(opened: Callable[[BuiltImage], Image]) -> None:
    """Tables come by guest address, wherever they lie, each time that one is reached."""
    content = {0: Data(1), 8192: Data(2), 8193: Data(3)}
    snapshot = SnapshotSpec("1", "one")
    image = opened(std_image(virtual_size=1 << 30, content=content, snapshots=(snapshot,)))
    for tree in trees_of(image):
        seen = list(TreeLister(image).entries(tree))
        entries = [listed for listed in seen if isinstance(listed, L1Listed)]
        tables = [listed for listed in seen if isinstance(listed, L2Listed)]
        assert [entry.index for entry in entries] == [0, 1]
        assert [table.guest_start for table in tables] == [0, 512 << 20]
        assert [table.rows.tolist() for table in tables] == [[0], [0, 1]]
        assert [table.statistics.entries for table in tables] == [8192, 8192]


def test_entries_behind_the_disk(opened: Callable[[BuiltImage], Image]) -> None:
    image = std_image(virtual_size=2 << 16)
    listed = listed_faults(opened(image))
    assert listed == {("l2.beyond-size", image.l2_entry_offset(0, 2))}


def test_a_clean_table_is_clean_for_its_place_only(opened: Callable[[BuiltImage], Image]) -> None:
    """Looking for bad entries, a shared table is read again where the disk ends elsewhere."""
    snapshot = SnapshotSpec("1", "one", disk_size=1 << 16)
    spec = ImageSpec(virtual_size=64 << 20, content={1: Data(1)}, snapshots=(snapshot,))
    built = build(spec)
    built.poke(built.places.snapshot_records[0] + 32, 0, 4)
    image = opened(built)
    trees = trees_of(image)
    lister = TreeLister(image, bad_only=True)
    assert list(lister.entries(trees[0])) == []
    behind = [listed for listed in lister.entries(trees[1]) if isinstance(listed, L2Listed)]
    expected = not trees[1].holds_vm_state or trees[1].entries_inside(0, image.geometry) == 1
    assert [table.rows.tolist() for table in behind] == ([[1]] if expected else [])
