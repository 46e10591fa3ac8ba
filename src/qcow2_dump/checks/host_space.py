"""The image file as a row of host clusters, and QEMU's rule for what lies in it (section 8.2)."""

import errno
from typing import NamedTuple, Self

from qcow2_dump.errors import SourceError
from qcow2_dump.image.image import Image
from qcow2_dump.ondisk.constants import MAX_HOST_CLUSTERS, SECTOR_SIZE

__all__ = ["HostSpace"]


class HostSpace(NamedTuple):
    """Lengths of the file: ``length`` in bytes, ``end`` rounded up to sectors, as QEMU sees it.

    ``clusters`` is the number of host clusters that exist at least in part.
    """

    cluster_bits: int
    length: int
    end: int
    clusters: int

    @classmethod
    def of(cls, image: Image) -> Self:
        """The space of an image. Raises SourceError (EFBIG) for more clusters than QEMU takes."""
        length = image.source.size
        end = -(-length // SECTOR_SIZE) * SECTOR_SIZE
        clusters = image.geometry.clusters(end)
        if clusters > MAX_HOST_CLUSTERS:
            reason = f"{clusters} host clusters are more than the {MAX_HOST_CLUSTERS} of a check"
            raise SourceError(errno.EFBIG, reason, image.name)
        return cls(image.geometry.cluster_bits, length, end, clusters)

    @property
    def cluster_size(self) -> int:
        """Bytes of a cluster."""
        return 1 << self.cluster_bits

    @property
    def missing(self) -> int:
        """Bytes by which the last cluster is cut short."""
        return (self.clusters << self.cluster_bits) - self.length

    def is_beyond(self, offset: int, length: int) -> bool:
        """Whether a region lies so far out that QEMU does not count it at all.

        It may end less than a cluster past the end: a last cluster can be cut short.
        """
        return offset + length - self.end >= self.cluster_size

    def span(self, offset: int, length: int) -> tuple[int, int]:
        """The clusters of a region of at least one byte: the first, and the one after the last."""
        return offset >> self.cluster_bits, ((offset + length - 1) >> self.cluster_bits) + 1
