"""Every compressed cluster, decompressed (`check --deep`): which streams do not decode.

The refcounts and sizes of a broken stream are in order; only reading it tells. The content is
thrown away at once.
"""

import zlib
from collections.abc import Callable, Iterator

import numpy as np

from qcow2_dump.checks.facts import CheckFacts
from qcow2_dump.checks.findings import Finding
from qcow2_dump.checks.mapping.l2_places import L2Places
from qcow2_dump.checks.tables.l2_batches import L2Batch, read_l2_batches
from qcow2_dump.ondisk.constants import SECTOR_SIZE, CompressionType
from qcow2_dump.ondisk.mapping import CompressedDescriptor, EntryFlag

__all__ = ["StreamReader", "check_streams", "decoder_for"]

_COMPRESSED = np.uint64(int(EntryFlag.COMPRESSED))
_DESCRIPTOR = np.uint64(int(EntryFlag.COPIED) - 1)

# Streams of which it is known whether they decode, so that equal entries cost nothing.
_REMEMBERED_STREAMS = 1 << 16
# Damaged entries may well make streams overlap: some are read all the same.
_SLACK = 1 << 26

# QEMU writes with a window of 4 KiB, but inflates in one go and so accepts the largest one.
_DEFLATE_WINDOW = -15

Decoder = Callable[[bytes, int], bool]
"""Whether some bytes begin with a stream that gives a cluster of so many bytes."""


def check_streams(facts: CheckFacts) -> Iterator[int]:
    """Decompress every compressed cluster. Yields the bytes of L2 tables walked so far."""
    header, geometry = facts.image.header, facts.image.geometry
    if not facts.tables.compressed.any() or header.has_data_file:
        return
    streams = StreamReader(facts)
    done = 0
    for batch in read_l2_batches(facts.image.source, geometry, facts.tables):
        for _ in streams.check(batch):
            yield done
        if streams.exhausted:
            message = "compressed streams overlap so much that not all of them were read"
            facts.log.add(Finding(code="check.incomplete", message=message))
            return
        done += batch.entries.size * geometry.l2_entry_size
        yield done


class StreamReader:
    """Decompresses streams, as many as an image can hold."""

    def __init__(self, facts: CheckFacts) -> None:
        self._facts = facts
        self._decodes = decoder_for(facts.image.header.compression_type)
        # A hostile image can point to one stream from everywhere, and it unpacks to a cluster.
        self._known: dict[int, bool] = {}
        # Streams share at most a sector, so that all of them are not longer than the file.
        self._left = facts.space.end + _SLACK

    @property
    def exhausted(self) -> bool:
        """Whether the streams read so far are longer than all of them can be."""
        return self._left < 0

    def check(self, batch: L2Batch) -> Iterator[None]:
        """Check the compressed entries of a batch; yields after each stream."""
        compressed = (batch.entries & _COMPRESSED) != 0
        compressed[self._facts.tables.misread[batch.tables]] = False
        row, column = np.nonzero(compressed)
        if not len(row):
            return
        descriptors, which = np.unique(
            batch.entries[row, column] & _DESCRIPTOR, return_inverse=True
        )
        broken = np.zeros(len(descriptors), dtype=np.bool_)
        for at, descriptor in enumerate(descriptors.tolist()):
            if self.exhausted:
                break
            broken[at] = self.is_broken(descriptor)
            yield
        bad = broken[which]
        L2Places(self._facts, batch, np.arange(len(batch.tables))).report_at(
            "l2.stream",
            row[bad],
            column[bad],
            lambda raw, _: f"{raw:#018x}, the compressed stream does not decode",
        )

    def is_broken(self, descriptor: int) -> bool:
        """Whether a stream inside of the file does not decode.

        ``descriptor`` is an entry without its two highest bits.
        """
        if descriptor not in self._known:
            if len(self._known) == _REMEMBERED_STREAMS:
                self._known.clear()
            self._known[descriptor] = not self._is_sound(descriptor)
        return self._known[descriptor]

    def _is_sound(self, descriptor: int) -> bool:
        space = self._facts.space
        stream = CompressedDescriptor.unpack(descriptor, space.cluster_bits)
        if space.is_beyond(stream.offset, stream.length):
            return True  # told already
        # The last sector of the stream may lie past the end of the file: not all of it is used.
        data = self._facts.image.source.read(stream.offset, stream.length)
        self._left -= max(0, stream.length - SECTOR_SIZE)
        return self._decodes(data, space.cluster_size)


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
