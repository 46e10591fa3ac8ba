"""Write a sparse image with real metadata: a 2 TiB disk takes seconds and 330 MB.

    python -m benchmarks.generate --case E --size 2T case-E.qcow2
    python -m benchmarks.generate --spec '{"size": 1073741824, "order": "runs"}' runs.qcow2

Tables, refcounts, COPIED flags and snapshot records are right, so `qemu-img check` finds
what the spec planted and nothing else. Data clusters are never written: they are holes.
"""

import argparse
import json
import os
import struct
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from benchmarks.layout import Layout
from benchmarks.permutation import Indices, Permutation
from benchmarks.sizes import parse_size
from benchmarks.spec import CASES, FULL_SIZE, ImageSpec, Order, spec_of

_COPIED = np.uint64(1 << 63)
_HEADER_LENGTH = 104
_BATCH_ENTRIES = 8192


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
        self.bits = np.uint64(spec.cluster_size.bit_length() - 1)
        self.data_refcount = 1 + spec.snapshots
        choose = Permutation(spec.data_clusters, spec.seed + 1)
        chosen = choose(np.arange(spec.leaks + spec.errors, dtype=np.uint64))
        self.leaks = np.sort(chosen[: spec.leaks])
        self.errors = np.sort(chosen[spec.leaks :])

    def write(self) -> None:
        os.ftruncate(self.descriptor, self.layout.total * self.spec.cluster_size)
        self._write_at(0, self._header())
        self._write_at(self.layout.snapshot_table_start, self._snapshot_table())
        self._write_refcounts()
        l1_tables = self._write_l1_tables()
        self._write_l2_tables(l1_tables)

    def _write_at(self, cluster: int, data: bytes) -> None:
        view, offset = memoryview(data), cluster * self.spec.cluster_size
        while view:
            written = os.pwrite(self.descriptor, view, offset)
            view, offset = view[written:], offset + written

    def _header(self) -> bytes:
        spec, layout = self.spec, self.layout
        snapshots_offset = layout.snapshot_table_start * spec.cluster_size if spec.snapshots else 0
        return struct.pack(
            ">4sIQIIQIIQQIIQQQQII",
            b"QFI\xfb",
            3,
            0,
            0,
            int(self.bits),
            spec.virtual_size,
            0,
            spec.l1_entries,
            layout.l1_start(0) * self.spec.cluster_size,
            1 * self.spec.cluster_size,
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
            self.layout.l1_start(1 + snapshot) * self.spec.cluster_size,
            self.spec.l1_entries,
            len(identity),
            len(name),
            1_600_000_000 + snapshot,
            0,
            0,
            0,
            24,
            0,
            self.spec.virtual_size,
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
        self._write_at(1, (blocks << self.bits).astype(">u8").tobytes())
        tables, table_counts = layout.l2_hosts, self._l2_refcounts()
        low = np.sort(layout.data_hosts(self.errors))
        per_block = self.spec.block_refcounts
        for block in range(layout.refcount_blocks):
            start = block * per_block
            end = start + per_block
            counts = np.full(per_block, self.data_refcount, ">u2")
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
        active = (layout.l2_hosts << self.bits) | copied
        self._write_at(layout.l1_start(0), active.astype(">u8").tobytes())
        l1_tables = []
        for snapshot, own in enumerate(layout.own_tables):
            hosts = layout.l2_hosts.copy()
            start = layout.own_start(snapshot)
            hosts[own] = np.arange(start, start + len(own), dtype=np.uint64)
            l1 = (hosts << self.bits).astype(">u8")
            self._write_at(layout.l1_start(1 + snapshot), l1.tobytes())
            l1_tables.append(hosts)
        return l1_tables

    def _write_l2_tables(self, l1_tables: list[Indices]) -> None:
        # As many at a time as one table of the largest clusters holds: small ones are many.
        step = max(1, _BATCH_ENTRIES // self.spec.l2_entries)
        for start in range(0, self.spec.l2_tables, step):
            hosts = self.layout.l2_hosts[start : start + step]
            tables = self._l2_entries(start, len(hosts))
            if int(hosts[-1] - hosts[0]) == len(hosts) - 1:
                self._write_at(int(hosts[0]), tables.astype(">u8").tobytes())
            else:
                for host, table in zip(hosts, tables, strict=True):
                    self._write_at(int(host), table.astype(">u8").tobytes())
            for index, table in enumerate(tables, start) if l1_tables else ():
                self._write_copies(index, table, l1_tables)

    def _write_copies(self, index: int, entries: Indices, l1_tables: list[Indices]) -> None:
        """Write the tables that snapshots have for themselves at an L1 index."""
        copies = {int(l1[index]) for l1 in l1_tables} - {int(self.layout.l2_hosts[index])}
        # COPIED means nothing in a snapshot's table, and QEMU clears it there.
        data = (entries & ~_COPIED).astype(">u8").tobytes() if copies else b""
        for copy in sorted(copies):
            self._write_at(copy, data)

    def _l2_entries(self, first: int, tables: int) -> Indices:
        """The L2 tables from an L1 index on (uint64[tables, entries]), with what is planted."""
        start = first * self.spec.l2_entries
        length = tables * self.spec.l2_entries
        end = min(start + length, self.spec.data_clusters)
        hosts = self.layout.data_hosts(np.arange(start, end, dtype=np.uint64))
        entries = np.zeros(length, np.uint64)
        entries[: end - start] = (hosts << self.bits) | self._copied(self.data_refcount)
        low = self.errors[slice(*np.searchsorted(self.errors, [start, end]))] - np.uint64(start)
        entries[low] = (entries[low] & ~_COPIED) | self._copied(self.data_refcount - 1)
        leaked = self.leaks[slice(*np.searchsorted(self.leaks, [start, end]))]
        entries[leaked - np.uint64(start)] = 0
        return entries.reshape(tables, -1)

    @staticmethod
    def _copied(refcount: int) -> np.uint64:
        return _COPIED if refcount == 1 else np.uint64(0)


def main(arguments: Sequence[str] | None = None) -> None:
    """Write the image of one case, or of a spec as JSON, to a file."""
    parser = argparse.ArgumentParser(description="Write an image for the benchmark.")
    wanted = parser.add_mutually_exclusive_group(required=True)
    wanted.add_argument("--case", choices=CASES)
    wanted.add_argument("--spec", type=_spec, help="the fields of an ImageSpec as JSON")
    parser.add_argument("--size", type=parse_size, default=FULL_SIZE, help="virtual size: 64G, 2T")
    parser.add_argument("file", type=Path)
    options = parser.parse_args(arguments)
    generate(options.file, options.spec or spec_of(options.case, options.size))


def _spec(text: str) -> ImageSpec:
    fields = json.loads(text)
    return ImageSpec(**fields | {"order": Order(fields.get("order", Order.PREALLOCATED))})


if __name__ == "__main__":
    main()
