"""Every compressed cluster, decompressed (`check --deep`): which streams do not decode.

The refcounts and sizes of a broken stream are in order; only reading it tells. The content is
thrown away at once.
"""

import zlib
from collections.abc import Callable, Iterator

import numpy as np
from numpy.typing import NDArray

from qcow2_dump.checks.facts import CheckFacts
from qcow2_dump.checks.l2_places import TablePlace
from qcow2_dump.checks.l2_tables import L2Batch, read_l2_batches
from qcow2_dump.ondisk.constants import CompressionType
from qcow2_dump.ondisk.mapping import CompressedDescriptor, EntryFlag

__all__ = ["check_streams", "decoder_for"]

_COMPRESSED = np.uint64(int(EntryFlag.COMPRESSED))
# QEMU writes with a window of 4 KiB, but inflates in one go and so accepts the largest one.
_DEFLATE_WINDOW = -15

Decoder = Callable[[bytes, int], bool]
"""Whether some bytes begin with a stream that gives a cluster of so many bytes."""


def check_streams(facts: CheckFacts) -> Iterator[int]:
    """Decompress every compressed cluster. Yields the bytes of L2 tables walked so far."""
    header, geometry = facts.image.header, facts.image.geometry
    if not facts.tables.compressed.any() or header.has_data_file:
        return
    decodes = decoder_for(header.compression_type)
    done = 0
    for batch in read_l2_batches(facts.image.source, geometry, facts.tables):
        for row in np.flatnonzero(facts.tables.compressed[batch.tables]).tolist():
            if not facts.tables.misread[batch.tables[row]]:
                for _ in _check_row(facts, batch, row, decodes):
                    yield done
        done += batch.entries.size * geometry.l2_entry_size
        yield done


def _check_row(facts: CheckFacts, batch: L2Batch, row: int, decodes: Decoder) -> Iterator[None]:
    entries = np.ascontiguousarray(batch.entries[row])
    broken: NDArray[np.bool_] = np.zeros(len(entries), dtype=np.bool_)
    space = facts.space
    for at in np.flatnonzero((entries & _COMPRESSED) != 0).tolist():
        stream = CompressedDescriptor.unpack(int(entries[at]), space.cluster_bits)
        if space.is_beyond(stream.offset, stream.length):
            continue  # told already
        # The last sector of the stream may lie past the end of the file: not all of it is used.
        data = facts.image.source.read(stream.offset, stream.length)
        broken[at] = not decodes(data, space.cluster_size)
        yield
    place = TablePlace(facts, int(batch.tables[row]), batch.first, entries)
    place.report(
        facts.log,
        "l2.stream",
        broken,
        lambda raw: f"{raw:#018x}, the compressed stream does not decode",
    )


def decoder_for(compression_type: int) -> Decoder:
    """The decoder for an image's compression type."""
    if compression_type == CompressionType.ZSTD:
        return _zstd_decoder()
    return _inflates


def _inflates(data: bytes, size: int) -> bool:
    """Raw deflate, as QEMU reads it: the output must fill the cluster, the rest is ignored."""
    engine = zlib.decompressobj(_DEFLATE_WINDOW)
    try:
        return len(engine.decompress(data, size)) == size
    except zlib.error:
        return False


def _zstd_decoder() -> Decoder:
    import zstandard

    engine = zstandard.ZstdDecompressor(max_window_size=1 << 27)

    def decodes(data: bytes, size: int) -> bool:
        try:
            with engine.stream_reader(data, read_across_frames=True) as reader:
                return len(reader.read(size)) == size
        except zstandard.ZstdError:
            return False

    return decodes
