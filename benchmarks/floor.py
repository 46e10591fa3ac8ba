"""The floor: read an image's metadata once, and do nothing else.

    python benchmarks/floor.py IMAGE

Reads the L1 tables, every distinct L2 table and every refcount block with `preadv` into one
buffer, neighbours together. No check of these tables can be quicker. Only the standard
library is loaded, so that the start costs what starting Python costs.
"""

import os
import struct
import sys
from array import array
from collections.abc import Iterator

_BUFFER = 1 << 20
_OFFSET = 0x00FF_FFFF_FFFF_FE00


def read_metadata(path: str) -> int:
    """Read everything once. Returns the bytes read from L1s, L2 tables and refcount blocks."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        header = os.pread(descriptor, 104, 0)
        cluster = 1 << struct.unpack_from(">I", header, 20)[0]
        table, table_clusters = struct.unpack_from(">QI", header, 48)
        blocks = {*_entries(descriptor, table, table_clusters * cluster)}
        tables: set[int] = set()
        total = 0
        for offset, size in _l1_tables(descriptor, header):
            tables.update(_entries(descriptor, offset, size))
            total += size
        return total + _read_once(descriptor, sorted((tables | blocks) - {0}), cluster)
    finally:
        os.close(descriptor)


def _l1_tables(descriptor: int, header: bytes) -> Iterator[tuple[int, int]]:
    """Offset and size in bytes of the active L1 and of each snapshot's."""
    entries, offset = struct.unpack_from(">IQ", header, 36)
    yield offset, entries * 8
    count, record = struct.unpack_from(">IQ", header, 60)
    for _ in range(count):
        fixed = os.pread(descriptor, 40, record)
        offset, entries, identity, name = struct.unpack_from(">QIHH", fixed)
        yield offset, entries * 8
        extra = struct.unpack_from(">I", fixed, 36)[0]
        record += (40 + extra + identity + name + 7) & ~7


def _entries(descriptor: int, offset: int, size: int) -> Iterator[int]:
    """The offsets, flags removed, in a table of 8-byte entries."""
    values = array("Q", os.pread(descriptor, size, offset))
    if sys.byteorder == "little":
        values.byteswap()
    return (value & _OFFSET for value in values)


def _read_once(descriptor: int, offsets: list[int], cluster: int) -> int:
    """Read one cluster at each of the ascending offsets, neighbours in one call."""
    buffer = memoryview(bytearray(max(_BUFFER, cluster)))
    total = start = end = 0
    for offset in offsets:
        if offset != end or end - start + cluster > len(buffer):
            total += os.preadv(descriptor, [buffer[: end - start]], start)
            start = offset
        end = offset + cluster
    return total + os.preadv(descriptor, [buffer[: end - start]], start)


if __name__ == "__main__":
    read_metadata(sys.argv[1])
