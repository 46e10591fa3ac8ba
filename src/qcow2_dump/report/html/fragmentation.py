"""How scattered the data of the active layer is: figures, and a chart of the sizes of pieces."""

from dataclasses import dataclass
from typing import Any

import numpy as np

from qcow2_dump.checks.maps.data_pieces import Fragmentation
from qcow2_dump.checks.result import Statistics
from qcow2_dump.report.units import counted, share, size

__all__ = ["FragmentRows", "fragmentation_rows"]


@dataclass(frozen=True, slots=True)
class FragmentRows:
    """A sentence, figures with their labels, and the chart as the scripts take it.

    ``sizes`` are the rows of the chart: from which size on, how many pieces.
    """

    summary: str
    facts: list[tuple[str, str]]
    sizes: list[tuple[str, str]]
    chart: dict[str, Any]


def fragmentation_rows(found: Fragmentation, statistics: Statistics) -> FragmentRows:
    """What is told of the pieces of data, and of what `qemu-img check` calls fragmented."""
    used = np.flatnonzero(found.by_size)
    bins = range(int(used[0]), int(used[-1]) + 1) if len(used) else range(0)
    labels = [size(1 << n) for n in bins]
    counts = [int(found.by_size[n]) for n in bins]
    fragmented, allocated = statistics.fragmented_clusters, statistics.allocated_clusters
    facts = [
        ("contiguous pieces", f"{found.pieces:,}"),
        ("largest piece", size(found.largest)),
        ("average piece", size(found.data // found.pieces) if found.pieces else "none"),
        (
            "fragmented, as qemu-img counts",
            f"{share(fragmented, max(1, allocated))} ({counted(fragmented, 'cluster')})",
        ),
    ]
    return FragmentRows(
        summary=_summary(found),
        facts=facts,
        sizes=[(label, f"{count:,}") for label, count in zip(labels, counts, strict=True)],
        chart={"labels": labels, "counts": counts},
    )


def _summary(found: Fragmentation) -> str:
    if not found.pieces:
        return "The active layer holds no uncompressed data of its own."
    pieces = counted(found.pieces, "contiguous piece")
    return f"The {size(found.data)} of uncompressed data of the active layer lie in {pieces}."
