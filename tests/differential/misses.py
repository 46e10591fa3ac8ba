"""Leaks called waste that led to guest data before an image was damaged."""

from __future__ import annotations

import shutil
from collections import Counter, defaultdict
from dataclasses import dataclass
from pathlib import Path

import qcow2_dump
from qcow2_dump import CheckResult, Finding
from tests.corpus.cases import Case, layout_of, materialize
from tests.corpus.imagefile import ImageFile
from tests.corpus.layout import Kind, Layout

_ALL = 1 << 20


@dataclass(frozen=True)
class Misses:
    """Host clusters that triage gave up wrongly.

    `freed` had their last reference lost; `lowered` are still referenced, by fewer than before.
    """

    freed: tuple[int, ...] = ()
    lowered: tuple[int, ...] = ()


def references(layout: Layout) -> Counter[int]:
    """How often each host cluster was referred to for the sake of guest data.

    Data itself, the L2 tables that lead to any, and the L1 tables that lead to those.
    """
    found: Counter[int] = Counter()
    size = layout.cluster_size
    for tree in layout.trees:
        filled: defaultdict[int, int] = defaultdict(int)
        for entry in layout.mappings(tree, Kind.NORMAL, Kind.COMPRESSED):
            filled[entry.table] += 1
            if layout.data_file:
                continue
            first = last = entry.target // size
            if entry.kind is Kind.COMPRESSED:
                offset, length = layout.compressed_extent(entry.value)
                first, last = offset // size, (offset + length - 1) // size
            found.update(range(first, last + 1))
        tables = [slot.target // size for slot in tree.l1 if filled[slot.target]]
        found.update(tables)
        if tables:
            first = tree.l1_offset // size
            found.update(range(first, first - (-8 * tree.l1_size // size)))
    return found


def misses_of(case: Case, folder: Path) -> Misses | None:
    """Check the damaged image of a case; None when it cannot be opened at all."""
    path = materialize(case, folder)
    try:
        with qcow2_dump.open_image(path) as image:
            result = qcow2_dump.check(image, max_findings=_ALL).result
        layout = layout_of(case.base)
        if result.cluster_size != layout.cluster_size:
            return Misses()  # other clusters: what they held cannot be compared
        with ImageFile(path, writable=False) as damaged:
            return _compare(result, layout, damaged)
    except qcow2_dump.Qcow2Error:
        return None
    finally:
        shutil.rmtree(path.parent)


def _compare(result: CheckResult, layout: Layout, damaged: ImageFile) -> Misses:
    before = references(layout)
    leaks = [finding for finding in result.findings if finding.code == "refcount.leak"]
    assert result.triage.waste == sum(finding.triage == "waste" for finding in leaks)
    assert result.triage.orphans == sum(finding.triage == "orphan" for finding in leaks)
    given_up = [
        finding
        for finding in leaks
        if finding.triage == "waste" and _left(finding) < before[finding.cluster or 0]
    ]
    freed = [f.cluster or 0 for f in given_up if not _left(f) and _holds_data(f, layout, damaged)]
    return Misses(tuple(freed), tuple(f.cluster or 0 for f in given_up if _left(f)))


def _left(leak: Finding) -> int:
    """How many references a leaked cluster has now."""
    return int(leak.expected or 0)


def _holds_data(leak: Finding, layout: Layout, damaged: ImageFile) -> bool:
    """Whether freeing a cluster loses anything: zeros without a backing file read the same."""
    start = (leak.cluster or 0) * layout.cluster_size
    return bool(layout.backing_offset) or any(damaged.read(start, layout.cluster_size))
