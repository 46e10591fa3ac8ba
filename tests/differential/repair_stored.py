"""Which of the guest's clusters are still in the file, whether or not anything leads to them.

What is there and not free can be found again; what a repair frees, or punches out, is gone.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from tests.corpus.imagefile import ImageFile
from tests.differential.repair_tables import Tables, Unreadable


@dataclass(frozen=True)
class Data:
    """The clusters with guest data in an undamaged image: a digest of each, by host cluster."""

    cluster_size: int
    digests: dict[int, bytes]


@dataclass(frozen=True)
class Stored:
    """Host clusters that hold what they held: `intact` all of them, `safe` those not free.

    `of` is how many there were.
    """

    intact: frozenset[int] = frozenset()
    safe: frozenset[int] = frozenset()
    of: int = 0


def data_of(path: Path) -> Data:
    """Read an undamaged image. Clusters of zeros are left out: they can be had for nothing."""
    with ImageFile(path, writable=False) as image:
        tables = Tables(image)
        size = tables.cluster_size
        clusters = np.flatnonzero(tables.data_references).tolist()
        contents = {cluster: image.read(cluster * size, size) for cluster in clusters}
    return Data(size, {at: _digest(content) for at, content in contents.items() if any(content)})


def stored(data: Data, path: Path) -> Stored:
    """What of it is left in another state of the image."""
    size = data.cluster_size
    with ImageFile(path, writable=False) as image:
        intact = frozenset(
            cluster
            for cluster, digest in data.digests.items()
            if _digest(image.read(cluster * size, size)) == digest
        )
        try:
            tables = Tables(image)
        except Unreadable:
            return Stored(intact, of=len(data.digests))
        if tables.cluster_size != size:
            return Stored(intact, of=len(data.digests))
        counts = tables.stored
        safe = frozenset(at for at in intact if at < len(counts) and counts[at])
    return Stored(intact, safe, len(data.digests))


def _digest(content: bytes) -> bytes:
    return hashlib.blake2b(content, digest_size=16).digest()
