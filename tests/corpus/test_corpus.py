"""The corpus holds what it promises, and its damages damage."""

from __future__ import annotations

import random
from collections import Counter
from pathlib import Path

import pytest

from tests.corpus.base import Base
from tests.corpus.bases import BASES
from tests.corpus.cases import (
    FIXED,
    Case,
    all_cases,
    base_path,
    fixed_cases,
    layout_of,
    materialize,
    path_of,
    truth,
)
from tests.corpus.damage import Damage
from tests.corpus.damages import DAMAGES
from tests.corpus.imagefile import ImageFile
from tests.corpus.layout import Kind
from tests.differential import oracle

# Damages that QEMU's check cannot see, or that leave a legal image: moved or emptied guest data.
UNSEEN = {"l2-copied-empty", "l2-zero-flag", "l2-table-shifted"}


def _case_of(base: str) -> Case:
    return next(case for case in all_cases() if case.base.name == base)


def test_it_is_large_enough() -> None:
    assert len(BASES) >= 25
    assert len(DAMAGES) >= 15
    assert len({case.name for case in all_cases()}) == len(all_cases()) >= 600
    assert len(set(fixed_cases())) == FIXED == 200


def test_names_are_unique() -> None:
    assert len({base.name for base in BASES}) == len(BASES)
    assert len({damage.name for damage in DAMAGES}) == len(DAMAGES)


@pytest.mark.parametrize("cases", [all_cases(), fixed_cases()], ids=["all", "fixed"])
def test_every_base_and_every_damage_occurs(cases: tuple[Case, ...]) -> None:
    assert {case.base.name for case in cases} == {base.name for base in BASES}
    assert {case.damage.name for case in cases} == {damage.name for damage in DAMAGES}


def test_fixed_cases_are_spread() -> None:
    """No damage and no base takes more than its share."""
    by_damage = Counter(case.damage.name for case in fixed_cases())
    by_base = Counter(case.base.name for case in fixed_cases())
    assert max(by_damage.values()) <= 3
    assert max(by_base.values()) <= 8


def test_fixed_cases_belong_to_all_cases() -> None:
    assert set(fixed_cases()) <= set(all_cases())


@pytest.mark.parametrize("case", fixed_cases()[::9], ids=lambda case: case.name)
def test_a_case_is_the_same_every_time(case: Case, tmp_path: Path) -> None:
    """Twice the same bytes, and not those of the base, which stays as it was."""
    before = base_path(case).read_bytes()
    first = materialize(case, tmp_path / "one").read_bytes()
    # What else was drawn meanwhile must not matter.
    random.random()
    assert materialize(case, tmp_path / "two").read_bytes() == first
    assert first != before
    assert base_path(case).read_bytes() == before


def test_seeds_differ(tmp_path: Path) -> None:
    """The same damage to the same base with another seed is another image."""
    cases = [c for c in all_cases() if (c.base.name, c.damage.name) == ("luks", "luks-refcount")]
    images = {materialize(case, tmp_path).read_bytes() for case in cases}
    assert len(cases) > 3
    assert len(images) > 1


@pytest.mark.parametrize("base", BASES, ids=lambda base: base.name)
def test_a_base_is_sound(base: Base) -> None:
    """QEMU finds nothing wrong with a base, but where its own writes were cut short."""
    result = oracle.check(path_of(base), encrypted=base.encrypted)
    assert result.word != "refused", result.stderr
    assert (result.word != "good") == base.unclean


@pytest.mark.parametrize("base", BASES, ids=lambda base: base.name)
def test_traits_say_what_a_base_has(base: Base) -> None:
    """A damage that needs a trait finds it."""
    layout = layout_of(base)
    has = {
        "data": bool(layout.mappings(layout.active)),
        "empty": not layout.active.l1,
        "multi-l2": len(layout.active.l1) > 1,
        "snapshots": bool(layout.snapshots),
        "bitmaps": bool(layout.bitmaps),
        "compressed": bool(layout.mappings(layout.active, Kind.COMPRESSED)),
        "extended": layout.extended,
        "luks": layout.crypt_method == 2,
        "data-file": layout.data_file,
        "v2": layout.version == 2,
        "v3": layout.version == 3,
    }
    for trait in base.traits:
        assert has[trait], trait


@pytest.mark.parametrize("base", BASES, ids=lambda base: base.name)
def test_our_reader_finds_what_qemu_counts(base: Base) -> None:
    """Allocated and compressed clusters, read independently, equal QEMU's statistics."""
    totals = oracle.check(path_of(base), encrypted=base.encrypted).totals
    layout = layout_of(base)
    compressed = len(layout.mappings(layout.active, Kind.COMPRESSED))
    pointing = len(layout.mappings(layout.active, Kind.NORMAL, Kind.ZERO_ALLOCATED))
    assert totals is not None
    assert totals["compressed-clusters"] == compressed
    assert totals["allocated-clusters"] == pointing + compressed


@pytest.mark.parametrize(
    "damage",
    [damage for damage in DAMAGES if damage.name not in UNSEEN],
    ids=lambda damage: damage.name,
)
def test_a_damage_damages(damage: Damage, tmp_path: Path) -> None:
    """QEMU objects to at least one of the first cases of each kind."""
    cases = [case for case in all_cases() if case.damage is damage][:8]
    words = (
        oracle.check(materialize(case, tmp_path), encrypted=case.base.encrypted).word
        for case in cases
    )
    assert any(word not in ("good", "timeout") for word in words)


def test_damage_reads_refcounts_of_every_width() -> None:
    """The count of each table is 1 in every width, whichever way it is packed."""
    for base in BASES:
        if base.name.startswith("refcount-"):
            layout = layout_of(base)
            with ImageFile(path_of(base), writable=False) as image:
                tables = [offset // layout.cluster_size for offset in layout.metadata]
                counts = {layout.refcount(image, cluster) for cluster in tables}
            assert counts == {1}, base.name


def test_truth_names_the_guest_cluster() -> None:
    """Where qemu-img says that guest data lives is where the truth says so."""
    case = _case_of("v3-64k")
    known = truth(case)
    layout = layout_of(case.base)
    allocated = layout.mappings(layout.active, Kind.NORMAL, Kind.ZERO_ALLOCATED)
    assert len(known) == len(allocated)
    with ImageFile(base_path(case), writable=False) as image:
        for cluster, guests in known.items():
            (guest,) = guests
            l2_table = image.get(layout.l1_offset) & 0x00FF_FFFF_FFFF_FE00
            entry = image.get(l2_table + 8 * guest) & 0x00FF_FFFF_FFFF_FE00
            assert entry == cluster * layout.cluster_size


def test_truth_knows_clusters_that_only_a_snapshot_holds() -> None:
    case = _case_of("snapshots-4k")
    layout = layout_of(case.base)
    active = {m.target for m in layout.mappings(layout.active)}
    assert {cluster * layout.cluster_size for cluster in truth(case)} - active


def test_truth_of_a_data_file_is_empty() -> None:
    assert truth(_case_of("data-file")) == {}
