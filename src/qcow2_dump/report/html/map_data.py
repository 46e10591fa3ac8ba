"""The maps of a page as data for its scripts."""

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from qcow2_dump.checks.maps.class_values import DAMAGED_BIT
from qcow2_dump.checks.maps.guest_class import GuestClass
from qcow2_dump.checks.maps.guest_map import GuestMap
from qcow2_dump.checks.maps.host_map import HostMap
from qcow2_dump.checks.maps.picture import Picture
from qcow2_dump.checks.maps.runs import ClassRuns
from qcow2_dump.checks.maps.structures import Structures
from qcow2_dump.checks.space.kinds import Kind
from qcow2_dump.image.image import Image
from qcow2_dump.ondisk.constants import SECTOR_SIZE
from qcow2_dump.report.html.finding_rows import FindingRow
from qcow2_dump.report.html.packing import Packed, pack
from qcow2_dump.report.places import TABLE_NAMES
from qcow2_dump.report.space_words import LOOKS
from qcow2_dump.report.units import size

__all__ = ["map_data"]

_GUEST_CLASSES = {
    GuestClass.UNALLOCATED: ("free", "not allocated"),
    GuestClass.ZERO: ("zero", "known to be zero"),
    GuestClass.DATA: ("active", "data of the active layer"),
    GuestClass.SHARED: ("shared", "data shared with snapshots"),
    GuestClass.COMPRESSED: ("compressed", "compressed"),
    GuestClass.UNKNOWN: ("unknown", "not looked at: tables overlap without end"),
    GuestClass.UNREADABLE: ("unreadable", "unreadable: mapped wrong"),
}


def map_data(
    picture: Picture,
    image: Image,
    findings: Sequence[FindingRow],
    omitted: int,
    tree_name: Callable[[str], str],
) -> dict[str, Any]:
    """What the scripts need to draw both maps and to say what lies where.

    ``findings`` are those that the page lists, ``omitted`` is the number of the others;
    ``tree_name`` says what a tree is called on the page.
    """
    geometry = image.geometry
    hurt = _damaged_on_disk(picture.guest, findings, omitted)
    return {
        "clusterSize": geometry.cluster_size,
        "maps": {
            "host": _host(picture.host, geometry.cluster_size),
            "guest": _guest(picture.guest, geometry.cluster_size, hurt),
        },
        "extents": _extents(picture.guest, image),
        "structures": {
            "l1Span": geometry.l1_span,
            "blockSpan": geometry.cluster_size * geometry.refcounts_per_block,
            **_structures(picture.structures, image.source.size, tree_name),
        },
    }


def _host(host: HostMap, cluster_size: int) -> dict[str, Any]:
    sums = host.sums.tolist()
    legend = [(kind.name.lower().replace("_", "-"), LOOKS[kind].words, sums[kind]) for kind in Kind]
    return _map(host.size, host.runs, cluster_size, legend, _size(host.damaged))


def _guest(guest: GuestMap, cluster_size: int, damaged: str) -> dict[str, Any]:
    sums = guest.sums.tolist()
    legend = [(*_GUEST_CLASSES[kind], sums[kind]) for kind in GuestClass]
    return _map(guest.size, guest.runs, cluster_size, legend, damaged)


def _size(damaged: int) -> str:
    return size(damaged) if damaged else "nothing"


def _damaged_on_disk(guest: GuestMap, findings: Sequence[FindingRow], omitted: int) -> str:
    """How much of the disk is damaged: what the map says, and the guest ranges of findings.

    An entry may be wrong though what it maps can be read, which only the findings tell.
    """
    told = [row.guest for row in findings if row.damage and row.guest is not None]
    exact = guest.runs.cell_size == SECTOR_SIZE
    if not exact:
        return _size(guest.damaged) + (" or more" if told or omitted else "")
    wrong = (guest.runs.mask >> np.uint16(DAMAGED_BIT)).astype(np.bool_)
    ends = np.cumsum(guest.runs.length) * SECTOR_SIZE
    starts = ends - guest.runs.length * SECTOR_SIZE
    total = reached = 0
    for start, end in sorted(
        [*zip(starts[wrong].tolist(), ends[wrong].tolist(), strict=True), *told]
    ):
        total += max(0, min(end, guest.size) - max(start, reached))
        reached = max(reached, end)
    return _size(total) + (" or more" if omitted else "")


def _map(
    length: int,
    runs: ClassRuns,
    finest: int,
    legend: Sequence[tuple[str, str, int]],
    damaged: str,
) -> dict[str, Any]:
    """A map: ``cell`` is the unit of the runs, ``finest`` the smallest cell to draw (bytes).

    ``damaged`` says in words how much is.
    """
    return {
        "size": length,
        "cell": runs.cell_size,
        "finest": max(finest, runs.cell_size),
        "classes": [{"id": name, "label": label, "bytes": held} for name, label, held in legend],
        "damaged": damaged,
        "runs": pack({"length": runs.length, "kind": runs.kind, "mask": runs.mask}),
    }


def _extents(guest: GuestMap, image: Image) -> Packed | None:
    extents = guest.extents
    if extents is None or image.header.has_data_file:
        return None
    return pack({"guest": extents.guest, "host": extents.host, "length": extents.length})


def _structures(found: Structures, end: int, tree_name: Callable[[str], str]) -> dict[str, Any]:
    regions = [
        {
            "label": TABLE_NAMES.get(region.kind, region.kind.replace("_", " "))
            + ("" if region.tree is None else f" of {tree_name(region.tree)}"),
            "from": region.offset,
            # How long a table is said to be may be nonsense.
            "to": min(end, region.offset + region.length),
        }
        for region in found.regions
    ]
    return {
        "regions": regions,
        "l2": _columns(
            offset=found.l2_offset,
            index=found.l2_index,
            active=found.l2_active,
            weight=found.l2_weight,
        ),
        "blocks": _columns(offset=found.block_offset, index=found.block_index),
    }


def _columns(**columns: NDArray[np.int64] | None) -> Packed | None:
    given = {name: column for name, column in columns.items() if column is not None}
    return pack(given) if len(given) == len(columns) else None
