"""The L1 entries of all trees, and the clusters of the L2 tables (format sections 8.3 and 8.6).

Judges each entry, counts the claims of L2 tables, and checks the COPIED flags of active entries.
What the tables hold is left to `pass_l2`.
"""

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from qcow2_dump.checks.facts import CheckFacts
from qcow2_dump.checks.findings import Finding, Table
from qcow2_dump.ondisk import arrays
from qcow2_dump.ondisk.mapping import L1_RESERVED_MASK, EntryFlag

__all__ = ["check_l1", "claim_l2_tables"]

_RESERVED = np.uint64(L1_RESERVED_MASK)
_COPIED_SHIFT = np.uint64(63)


def check_l1(facts: CheckFacts) -> None:
    """Judge every L1 entry that is not zero."""
    slots, space = facts.slots, facts.space
    offsets = arrays.l1_offsets(slots.raw)
    unaligned = (offsets & np.uint64(space.cluster_size - 1)) != 0
    beyond = offsets >= np.uint64(space.end)
    no_offset = offsets == 0
    _report(facts, "l1.reserved", (slots.raw & _RESERVED) != 0, "has reserved bits set")
    _report(facts, "l1.unaligned", unaligned, "points to an unaligned offset")
    _report(facts, "l1.beyond-end", beyond, "points past the end of the file")
    _report(
        facts,
        "l1.no-offset",
        no_offset,
        "has flags but no offset: QEMU reads the header as its L2 table",
        count=False,
    )
    cut = ~beyond & ~unaligned & (offsets > np.uint64(max(0, space.length - space.cluster_size)))
    _report_cut_tables(facts, cut & ~no_offset)
    _check_copied(facts, offsets)
    if facts.tables.skipped:
        message = f"{facts.tables.skipped} more unaligned L2 tables were not read"
        facts.log.add(Finding(code="check.incomplete", message=message))


def claim_l2_tables(facts: CheckFacts) -> None:
    """Count the claims of the clusters that L2 tables occupy."""
    tables, space = facts.tables, facts.space
    inside = np.flatnonzero(tables.offset < space.end)
    indices = tables.offset[inside] >> space.cluster_bits
    weights, owns = tables.weight[inside], tables.own[inside]
    facts.references.claim_each(indices, weights, owns)
    # An unaligned region of a cluster's length touches the next one too.
    second = tables.offset[inside] & (space.cluster_size - 1) != 0
    facts.references.claim_each(indices[second] + 1, weights[second], owns[second])


def _check_copied(facts: CheckFacts, offsets: NDArray[np.uint64]) -> None:
    active = np.flatnonzero(facts.slots.active & (offsets != 0))
    clusters = facts.cluster_indices(offsets[active])
    stored_one = facts.stored.is_one(clusters)
    wrong = stored_one != (facts.slots.raw[active] >> _COPIED_SHIFT).astype(np.bool_)
    readable = facts.stored.is_readable(clusters)
    if readable is not None:
        wrong &= readable
    mask = np.zeros(len(facts.slots), dtype=np.bool_)
    mask[active[wrong]] = True
    _report(facts, "l1.copied", mask, "has a COPIED flag that disagrees", active_only=True)


def _report(
    facts: CheckFacts,
    code: str,
    mask: NDArray[np.bool_],
    what: str,
    *,
    count: bool = True,
    active_only: bool = False,
) -> None:
    places = np.flatnonzero(mask)
    if not len(places):
        return
    times = len(places) if active_only else int(facts.slots.weight[places].sum())
    length = _guest_bytes(facts, places)
    make = _maker(facts, code, places, what, count=count, active_only=active_only)
    facts.log.add_many(code, len(places), make, count=times if count else 0, guest_bytes=length)


def _maker(
    facts: CheckFacts,
    code: str,
    places: NDArray[np.int64],
    what: str,
    *,
    count: bool,
    active_only: bool,
) -> Callable[[int], Finding]:
    def make(i: int) -> Finding:
        position = int(places[i])
        raw, index = int(facts.slots.raw[position]), int(facts.slots.l1_index[position])
        labels, total = facts.trees_of_slots(np.array([position]))
        place = int(facts.slots.place[position])
        start = index * facts.image.geometry.l1_span
        expected = raw ^ int(EntryFlag.COPIED) if code == "l1.copied" else None
        if code == "l1.reserved":
            expected = raw & ~L1_RESERVED_MASK
        return Finding(
            code=code,
            message=f"L1 entry {index}: {raw:#018x} {what}{_why(facts, code, raw)}",
            offset=place,
            table=Table("l1", place - 8 * index),
            l1_index=index,
            trees=labels,
            trees_total=total,
            count=(1 if active_only else total) if count else 0,
            value=raw,
            expected=expected,
            guest_offset=start,
            guest_length=facts.guest_length(start, facts.image.geometry.l1_span),
        )

    return make


def _why(facts: CheckFacts, code: str, raw: int) -> str:
    """What a COPIED flag disagrees with."""
    if code != "l1.copied":
        return ""
    cluster = facts.cluster_indices(arrays.l1_offsets(np.array([raw], dtype=np.uint64)))
    return f": the L2 table's refcount is {int(facts.stored.values_of(cluster)[0])}"


def _guest_bytes(facts: CheckFacts, places: NDArray[np.int64]) -> int:
    """Bytes of the virtual disk that some slots map, each L1 index once."""
    indices = arrays.distinct(facts.slots.l1_index[places])
    span, size = facts.image.geometry.l1_span, facts.image.header.size
    whole = int(np.count_nonzero(indices < size // span))
    partial = bool((indices == size // span).any())
    return whole * span + (size % span if partial else 0)


def _report_cut_tables(facts: CheckFacts, cut: NDArray[np.bool_]) -> None:
    """L2 tables of which a part lies past the end: QEMU reads that part as zeros, unnoticed."""
    seen: set[int] = set()
    for position in np.flatnonzero(cut).tolist():
        offset = int(arrays.l1_offsets(facts.slots.raw[position : position + 1])[0])
        missing = offset + facts.space.cluster_size - facts.space.length
        if missing <= 0 or offset in seen:
            continue
        seen.add(offset)
        labels, total = facts.trees_of_slots(np.array([position]))
        index = int(facts.slots.l1_index[position])
        geometry = facts.image.geometry
        first = -(-(geometry.cluster_size - missing) // geometry.l2_entry_size)
        start = geometry.guest_offset(index, first)
        facts.log.add(
            Finding(
                code="table.beyond-end",
                message=f"the L2 table at {offset:#x}: its last {missing} bytes lie past the end "
                f"of the file at {facts.space.length:#x} and read as zeros",
                offset=int(facts.slots.place[position]),
                table=Table("l2", offset),
                l1_index=index,
                trees=labels,
                trees_total=total,
                value=offset,
                guest_offset=start,
                guest_length=facts.guest_length(
                    start, (geometry.l2_entries - first) << geometry.cluster_bits
                ),
            )
        )
