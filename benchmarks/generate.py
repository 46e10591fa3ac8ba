"""Write a sparse image with real metadata: a 2 TiB disk takes seconds and 330 MB.

    python -m benchmarks.generate --case E --size 2T case-E.qcow2

Tables, refcounts, COPIED flags and snapshot records are right, so `qemu-img check` finds
what the spec planted and nothing else. Data clusters are never written: they are holes.
"""

import argparse
import os
import struct
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from benchmarks.layout import REFCOUNTS_PER_BLOCK, Layout
from benchmarks.permutation import Indices, Permutation
from benchmarks.sizes import parse_size
from benchmarks.spec import CASES, CLUSTER_SIZE, ENTRIES_PER_L2, FULL_SIZE, ImageSpec, spec_of

_COPIED = np.uint64(1 << 63)
_CLUSTER_BITS = np.uint64(16)
_HEADER_LENGTH = 104


def generate(path: Path, spec: ImageSpec) -> None:
    """Write the image at `path`, replacing what is there. Raises OSError when it cannot."""
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_TRUNC, 0o644)
    try:
        _Writer(descriptor, spec).write()
    finally:
        os.close(descriptor)


class _Writer:
    """One run over one image; memory is bounded by one batch and what is planted."""

    def __init__(self, descriptor: int, spec: ImageSpec) -> None:
        self.descriptor = descriptor
        self.spec = spec
        self.layout = Layout(spec)
        self.data_refcount = 1 + spec.snapshots
        choose = Permutation(spec.data_clusters, spec.seed + 1)
        chosen = choose(np.arange(spec.leaks + spec.errors, dtype=np.uint64))
        self.leaks = np.sort(chosen[: spec.leaks])
        self.errors = np.sort(chosen[spec.leaks :])

    def write(self) -> None:
        os.ftruncate(self.descriptor, self.layout.total * CLUSTER_SIZE)
        self._write_at(0, self._header())
        self._write_at(self.layout.snapshot_table_start, self._snapshot_table())
        self._write_refcounts()
        l1_tables = self._write_l1_tables()
        self._write_l2_tables(l1_tables)

    def _write_at(self, cluster: int, data: bytes) -> None:
        view, offset = memoryview(data), cluster * CLUSTER_SIZE
        while view:
            written = os.pwrite(self.descriptor, view, offset)
            view, offset = view[written:], offset + written

    def _header(self) -> bytes:
        spec, layout = self.spec, self.layout
        snapshots_offset = layout.snapshot_table_start * CLUSTER_SIZE if spec.snapshots else 0
        return struct.pack(
            ">4sIQIIQIIQQIIQQQQII",
            b"QFI\xfb",
            3,
            0,
            0,
            16,
            spec.size,
            0,
            spec.l2_tables,
            layout.l1_start(0) * CLUSTER_SIZE,
            1 * CLUSTER_SIZE,
            layout.refcount_table_clusters,
            spec.snapshots,
            snapshots_offset,
            0,
            0,
            0,
            4,
            _HEADER_LENGTH,
        )

    def _snapshot_table(self) -> bytes:
        return b"".join(self._snapshot_record(i) for i in range(self.spec.snapshots))

    def _snapshot_record(self, snapshot: int) -> bytes:
        identity, name = f"{snapshot + 1:08d}".encode(), f"day{snapshot + 1:05d}".encode()
        return struct.pack(
            ">QIHHIIQIIQQQ8s8s",
            self.layout.l1_start(1 + snapshot) * CLUSTER_SIZE,
            self.spec.l2_tables,
            len(identity),
            len(name),
            1_600_000_000 + snapshot,
            0,
            0,
            0,
            24,
            0,
            self.spec.size,
            (1 << 64) - 1,
            identity,
            name,
        )

    def _l2_refcounts(self) -> Indices:
        """References to each active L2 table, by L1 index: from all trees that share it."""
        counts = np.full(self.spec.l2_tables, self.data_refcount, np.uint64)
        for own in self.layout.own_tables:
            counts[own] -= np.uint64(1)
        return counts

    def _write_refcounts(self) -> None:
        layout = self.layout
        first = layout.refcount_block_start
        blocks = np.arange(first, first + layout.refcount_blocks, dtype=np.uint64)
        self._write_at(1, (blocks << _CLUSTER_BITS).astype(">u8").tobytes())
        tables, table_counts = layout.l2_hosts, self._l2_refcounts()
        low = np.sort(layout.data_hosts(self.errors))
        for block in range(layout.refcount_blocks):
            start = block * REFCOUNTS_PER_BLOCK
            end = start + REFCOUNTS_PER_BLOCK
            counts = np.full(REFCOUNTS_PER_BLOCK, self.data_refcount, ">u2")
            counts[: max(0, layout.body - start)] = 1
            counts[max(0, layout.total - start) :] = 0
            here = slice(*np.searchsorted(tables, [start, end]))
            counts[tables[here] - np.uint64(start)] = table_counts[here]
            here = slice(*np.searchsorted(low, [start, end]))
            counts[low[here] - np.uint64(start)] = self.data_refcount - 1
            self._write_at(first + block, counts.tobytes())

    def _write_l1_tables(self) -> list[Indices]:
        """Write every L1; returns for each snapshot its L1, in host clusters."""
        layout = self.layout
        copied = np.where(self._l2_refcounts() == 1, _COPIED, np.uint64(0))
        active = (layout.l2_hosts << _CLUSTER_BITS) | copied
        self._write_at(layout.l1_start(0), active.astype(">u8").tobytes())
        l1_tables = []
        for snapshot, own in enumerate(layout.own_tables):
            hosts = layout.l2_hosts.copy()
            start = layout.own_start(snapshot)
            hosts[own] = np.arange(start, start + len(own), dtype=np.uint64)
            l1 = (hosts << _CLUSTER_BITS).astype(">u8")
            self._write_at(layout.l1_start(1 + snapshot), l1.tobytes())
            l1_tables.append(hosts)
        return l1_tables

    def _write_l2_tables(self, l1_tables: list[Indices]) -> None:
        for index, host in enumerate(self.layout.l2_hosts):
            entries = self._l2_entries(index)
            self._write_at(int(host), entries.astype(">u8").tobytes())
            copies = {int(l1[index]) for l1 in l1_tables} - {int(host)}
            if copies:
                # COPIED means nothing in a snapshot's table, and QEMU clears it there.
                data = (entries & ~_COPIED).astype(">u8").tobytes()
                for copy in sorted(copies):
                    self._write_at(copy, data)

    def _l2_entries(self, index: int) -> Indices:
        """The L2 table of an L1 index (uint64, one table), with what is planted in it."""
        start = index * ENTRIES_PER_L2
        end = min(start + ENTRIES_PER_L2, self.spec.data_clusters)
        hosts = self.layout.data_hosts(np.arange(start, end, dtype=np.uint64))
        entries = np.zeros(ENTRIES_PER_L2, np.uint64)
        entries[: end - start] = (hosts << _CLUSTER_BITS) | self._copied(self.data_refcount)
        low = self.errors[slice(*np.searchsorted(self.errors, [start, end]))] - np.uint64(start)
        entries[low] = (entries[low] & ~_COPIED) | self._copied(self.data_refcount - 1)
        leaked = self.leaks[slice(*np.searchsorted(self.leaks, [start, end]))]
        entries[leaked - np.uint64(start)] = 0
        return entries

    @staticmethod
    def _copied(refcount: int) -> np.uint64:
        return _COPIED if refcount == 1 else np.uint64(0)


def main(arguments: Sequence[str] | None = None) -> None:
    """Write the image of one case to a file."""
    parser = argparse.ArgumentParser(description="Write the image of one benchmark case.")
    parser.add_argument("--case", choices=CASES, required=True)
    parser.add_argument("--size", type=parse_size, default=FULL_SIZE, help="virtual size: 64G, 2T")
    parser.add_argument("file", type=Path)
    options = parser.parse_args(arguments)
    generate(options.file, spec_of(options.case, options.size))


if __name__ == "__main__":
    main()
