"""The bytes of guest clusters: what a guest reads, and compressed streams packed on the host."""

import random
import zlib
from collections.abc import Mapping
from dataclasses import dataclass

import zstandard

from tests.builder.layers import Owner
from tests.builder.sparse import SparseBytes
from tests.builder.spec import (
    ALL_SUBCLUSTERS,
    Compressed,
    Content,
    Data,
    ImageSpec,
    Subclusters,
    ZeroAlloc,
)

SECTOR = 512
STALE = 0xEE
# The window QEMU deflates with (4 KiB, no zlib wrapper); its reader does not insist on it.
DEFLATE_WINDOW = -12


@dataclass(frozen=True)
class Stream:
    """A compressed stream: byte position in its region, the bytes, and additional sectors."""

    position: int
    data: bytes
    sectors: int


def owns_cluster(item: Content) -> bool:
    """Return whether this content owns one whole host cluster."""
    if isinstance(item, Subclusters):
        return item.owns_cluster
    return isinstance(item, Data | ZeroAlloc)


def write_host(target: SparseBytes, offset: int, item: Content, cluster_size: int) -> None:
    """Write the host cluster that ``item`` owns; what no guest may see holds 0xEE."""
    if isinstance(item, Data):
        if isinstance(item.content, bytes):
            target.write(offset, item.content)
        else:
            target.fill(offset, cluster_size, item.content)
    else:
        target.fill(offset, cluster_size, STALE)
        if isinstance(item, Subclusters):
            write_guest(
                target, offset, Subclusters(item.bitmap & ALL_SUBCLUSTERS, item.fill), cluster_size
            )


def write_guest(target: SparseBytes, offset: int, item: Content, cluster_size: int) -> None:
    """Write what the guest reads of ``item`` over what it would read from a backing file."""
    if isinstance(item, Subclusters):
        size = cluster_size // 32
        for number in range(32):
            if item.bitmap & (1 << number):
                target.fill(offset + number * size, size, item.fill)
            elif item.bitmap & (1 << 32 + number):
                target.fill(offset + number * size, size, 0)
    elif isinstance(item, Compressed):
        target.write(offset, _compressed_content(item, cluster_size))
    elif isinstance(item, Data) and isinstance(item.content, int):
        target.fill(offset, cluster_size, item.content)
    else:
        target.fill(offset, cluster_size, 0)
        if isinstance(item, Data) and isinstance(item.content, bytes):
            target.write(offset, item.content)


def pack_streams(
    spec: ImageSpec, items: Mapping[Owner, Compressed]
) -> tuple[dict[Owner, Stream], int]:
    """Compress and pack ``items`` one behind the other; return them and the bytes they cover.

    A stream moves to the next sector when its descriptor could not say where it ends.
    """
    alignment = {"byte": 1, "sector": SECTOR, "cluster": spec.cluster_size}[spec.stream_alignment]
    most_sectors = (1 << (spec.cluster_bits - 8)) - 1
    packed: dict[Owner, Stream] = {}
    end = 0
    for owner in sorted(items):
        data = _compress(_compressed_content(items[owner], spec.cluster_size), spec)
        position = -(-end // alignment) * alignment
        if _additional_sectors(position, len(data)) > most_sectors:
            position = -(-position // SECTOR) * SECTOR
        packed[owner] = Stream(position, data, _additional_sectors(position, len(data)))
        end = position + len(data)
    return packed, -(-end // SECTOR) * SECTOR


def _additional_sectors(position: int, length: int) -> int:
    return (position + length - 1) // SECTOR - position // SECTOR


def _compressed_content(item: Compressed, cluster_size: int) -> bytes:
    noise = min(item.noise, cluster_size)
    return random.Random(item.fill).randbytes(noise) + bytes([item.fill]) * (cluster_size - noise)


def _compress(content: bytes, spec: ImageSpec) -> bytes:
    if spec.compression_type == 1:
        return zstandard.ZstdCompressor().compress(content)
    deflater = zlib.compressobj(wbits=DEFLATE_WINDOW)
    return deflater.compress(content) + deflater.flush()
