"""Every rule of section 1.3 that the header alone decides: at its limit, and one past it."""

from typing import Any

import pytest

from qcow2_dump.ondisk.header import FIELD_OFFSETS, Header
from qcow2_dump.ondisk.header_rules import broken_header_rules
from tests.ondisk.samples import V2, V3, v3

READABLE = 0x7FFFFFFFC0000000
ALIGNED_END = READABLE - 0x10000
"""The last place of a one-cluster table that QEMU can still read, with 64 KiB clusters."""


def rules(header: Header) -> set[tuple[str, bool]]:
    return {(broken.rule, broken.refused) for broken in broken_header_rules(header)}


@pytest.mark.parametrize("header", [V2, V3])
def test_sound_headers_break_nothing(header: Header) -> None:
    assert rules(header) == set()


ACCEPTED: list[dict[str, Any]] = [
    {"header_length": 104, "padding": b""},
    {"header_length": 65536, "unknown": bytes(65536 - 112)},
    {"backing_file_offset": 65536},
    {"compression_type": 1, "incompatible_features": 8},
    {"cluster_bits": 14, "incompatible_features": 16, "l1_size": 8},
    {"refcount_order": 0},
    {"refcount_order": 6},
    {"refcount_table_clusters": 128},
    {"refcount_table_offset": ALIGNED_END},
    {"nb_snapshots": 65536},
    {"snapshots_offset": 2**63 - 0x10000},
    {"snapshots_offset": ALIGNED_END, "nb_snapshots": 0x10000 // 40},
    {"l1_size": 4_194_304},
    {"l1_table_offset": ALIGNED_END},
    {"l1_table_offset": 2**63 - 0x10000, "l1_size": 0, "size": 0},
    {"size": 512 << 20},
    {"size": 2**51, "l1_size": 4_194_304},
    {"size": 0, "l1_size": 0},
    {"crypt_method": 2},
    {"autoclear_features": 2, "incompatible_features": 4},
    {"autoclear_features": 1 << 40},
    {"incompatible_features": 2},
]


@pytest.mark.parametrize("changes", ACCEPTED)
def test_at_the_limit(changes: dict[str, Any]) -> None:
    assert rules(v3(**changes)) == set()


REFUSED: list[tuple[str, str, dict[str, Any]]] = [
    ("header-length", "header_length", {"header_length": 103}),
    ("header-length", "header_length", {"header_length": 65537}),
    ("backing-offset", "backing_file_offset", {"backing_file_offset": 65537}),
    ("compression-type", "compression_type", {"compression_type": 2, "incompatible_features": 8}),
    ("compression-type", "compression_type", {"compression_type": 1}),
    ("compression-type", "compression_type", {"incompatible_features": 8}),
    ("extended-l2", "cluster_bits", {"cluster_bits": 13, "incompatible_features": 16, "size": 0}),
    ("refcount-order", "refcount_order", {"refcount_order": 7}),
    ("refcount-table-size", "refcount_table_clusters", {"refcount_table_clusters": 129}),
    ("refcount-table-offset", "refcount_table_offset", {"refcount_table_offset": 0x10200}),
    ("refcount-table-offset", "refcount_table_offset", {"refcount_table_offset": READABLE}),
    ("snapshot-count", "nb_snapshots", {"nb_snapshots": 65537}),
    ("snapshots-offset", "snapshots_offset", {"snapshots_offset": 8}),
    ("snapshots-offset", "snapshots_offset", {"snapshots_offset": 2**63}),
    (
        "snapshots-offset",
        "snapshots_offset",
        {"snapshots_offset": ALIGNED_END, "nb_snapshots": 0x10000 // 40 + 1},
    ),
    ("l1-size", "l1_size", {"l1_size": 4_194_305}),
    ("l1-offset", "l1_table_offset", {"l1_table_offset": 0x30200}),
    ("l1-offset", "l1_table_offset", {"l1_table_offset": READABLE}),
    ("l1-offset", "l1_table_offset", {"l1_table_offset": 2**63, "l1_size": 0, "size": 0}),
    ("l1-short", "l1_size", {"size": (512 << 20) + 512}),
    ("virtual-size", "size", {"size": 2**46, "cluster_bits": 9}),
    ("crypt-method", "crypt_method", {"crypt_method": 3}),
    ("raw-data-file-bit", "autoclear_features", {"autoclear_features": 2}),
]


@pytest.mark.parametrize(("rule", "field", "changes"), REFUSED)
def test_one_past_the_limit(rule: str, field: str, changes: dict[str, Any]) -> None:
    header = v3(**changes)
    (broken,) = broken_header_rules(header)
    assert (broken.rule, broken.field) == (rule, field)
    assert broken.refused
    assert broken.offset == FIELD_OFFSETS[field]
    assert broken.value == getattr(header, field)
    assert broken.expected in broken.message
    assert "\n" not in broken.message


FORBIDDEN_BUT_ACCEPTED: list[tuple[str, dict[str, Any]]] = [
    ("header-length-unaligned", {"header_length": 105, "padding": b""}),
    ("header-padding", {"padding": b"\0\0\0\0\0\0\1"}),
    ("size-not-sectors", {"size": (64 << 20) + 1}),
]


@pytest.mark.parametrize(("rule", "changes"), FORBIDDEN_BUT_ACCEPTED)
def test_forbidden_though_qemu_accepts(rule: str, changes: dict[str, Any]) -> None:
    assert rules(v3(**changes)) == {(rule, False)}


def test_an_empty_refcount_table_is_refused_by_open_but_not_by_check() -> None:
    (broken,) = broken_header_rules(v3(refcount_table_clusters=0))
    assert broken.rule == "refcount-table-empty"
    assert broken.refused
    assert broken.open_only


def test_the_largest_l1_of_small_clusters() -> None:
    span = 32 * 1024
    most = (2**31 - 1) * span
    assert rules(v3(cluster_bits=9, size=most)) == {("l1-short", True)}
    assert rules(v3(cluster_bits=9, size=most + 512)) == {("virtual-size", True)}


def test_no_disk_of_2_to_the_63_bytes() -> None:
    places = {"l1_table_offset": 0x600000, "refcount_table_offset": 0x200000}
    below = v3(cluster_bits=21, size=2**63 - 512, **places)
    assert rules(below) == {("l1-short", True)}
    assert rules(v3(cluster_bits=21, size=2**63, **places)) == {("virtual-size", True)}


def test_every_broken_rule_is_told() -> None:
    header = v3(header_length=0, l1_size=2**32 - 1, nb_snapshots=2**32 - 1, refcount_order=99)
    assert {"header-length", "l1-size", "snapshot-count", "refcount-order"} <= {
        rule for rule, _ in rules(header)
    }
