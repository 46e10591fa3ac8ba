"""The table of derived numbers in section 2.1 of the format."""

import pytest

from qcow2_dump.ondisk.geometry import Geometry

KIB, MIB, GIB, TIB = 2**10, 2**20, 2**30, 2**40


@pytest.mark.parametrize(
    ("bits", "entries", "span", "largest", "per_block"),
    [
        (9, 64, 32 * KIB, 128 * GIB, 256),
        (16, 8192, 512 * MIB, 2048 * TIB, 32_768),
        (21, 262_144, 512 * GIB, 2**21 * TIB, 1_048_576),
    ],
)
def test_table_of_derived_numbers(
    bits: int, entries: int, span: int, largest: int, per_block: int
) -> None:
    geometry = Geometry(bits)
    assert geometry.l2_entries == entries
    assert geometry.l1_span == span
    assert 4_194_304 * geometry.l1_span == largest
    assert geometry.refcounts_per_block == per_block
    assert geometry.refcount_table_entries_per_cluster == geometry.cluster_size // 8


def test_extended_l2_halves_the_entries() -> None:
    geometry = Geometry(16, extended_l2=True)
    assert (geometry.l2_entry_size, geometry.l2_entries) == (16, 4096)
    assert (geometry.subclusters, geometry.subcluster_size) == (32, 2048)
    assert (Geometry(16).subclusters, Geometry(16).subcluster_size) == (1, 65536)


@pytest.mark.parametrize(
    ("bits", "offset_bits"), [(9, 61), (12, 58), (14, 56), (16, 54), (18, 52), (21, 49)]
)
def test_compressed_offset_bits(bits: int, offset_bits: int) -> None:
    assert Geometry(bits).compressed_offset_bits == offset_bits


@pytest.mark.parametrize("order", range(7))
def test_refcount_width(order: int) -> None:
    geometry = Geometry(16, order)
    assert geometry.refcount_bits == 2**order
    assert geometry.refcount_max == 2 ** (2**order) - 1
    assert geometry.refcounts_per_block * geometry.refcount_bits == 65536 * 8


@pytest.mark.parametrize(
    ("size", "entries"), [(0, 0), (1, 1), (512 * MIB, 1), (512 * MIB + 1, 2), (2**63, 2**34)]
)
def test_l1_entries_round_up(size: int, entries: int) -> None:
    assert Geometry(16).l1_entries_for(size) == entries


@pytest.mark.parametrize(
    ("size", "clusters"), [(0, 0), (511, 0), (512, 1), (65536, 1), (65536 + 511, 1), (66048, 2)]
)
def test_total_clusters_count_whole_sectors_only(size: int, clusters: int) -> None:
    assert Geometry(16).total_clusters(size) == clusters


def test_clusters_round_up() -> None:
    assert [Geometry(9).clusters(length) for length in (0, 1, 512, 513)] == [0, 1, 1, 2]


@pytest.mark.parametrize("extended_l2", [False, True])
def test_guest_indices_and_back(extended_l2: bool) -> None:
    geometry = Geometry(16, extended_l2=extended_l2)
    offset = 3 * geometry.l1_span + 5 * geometry.cluster_size
    assert geometry.guest_indices(offset + 123) == (3, 5)
    assert geometry.guest_offset(3, 5) == offset


def test_alignment() -> None:
    assert Geometry(16).is_aligned(0)
    assert Geometry(16).is_aligned(2**63)
    assert not Geometry(16).is_aligned(0x10200)
