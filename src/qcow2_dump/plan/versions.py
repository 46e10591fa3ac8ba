"""Which version of some bytes an image holds: what was there before a change, or after part of it.

A disk promises no more than whole sectors: each of them is looked at by itself.
"""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from qcow2_dump.plan.model import Write

__all__ = ["SECTOR", "held_versions"]

SECTOR = 512


def held_versions(writes: Sequence[Write], offset: int, held: bytes) -> NDArray[np.bool_]:
    """Which versions the sectors of some ``held`` bytes at a file offset are: bool[n + 1, sectors].

    The first version is what was there before the first of n writes, in the order in which they
    are made; then comes one after each of them. All of them write all of these bytes.
    """
    version: bytes | bytearray = held
    for write in reversed(writes):
        version = write.old.over(version, offset - write.offset)
    first, end = offset // SECTOR, -(-(offset + len(held)) // SECTOR)
    equal = np.ones((len(writes) + 1, end - first), dtype=np.bool_)
    _note(equal[0], version, held, offset)
    for write, sectors in zip(writes, equal[1:], strict=True):
        version = write.new.over(version, offset - write.offset)
        _note(sectors, version, held, offset)
    return equal


def _note(equal: NDArray[np.bool_], version: bytes | bytearray, held: bytes, offset: int) -> None:
    """Note which sectors differ from what is held at an offset."""
    if version != held:
        differs = np.frombuffer(version, np.uint8) != np.frombuffer(held, np.uint8)
        equal[(offset + np.flatnonzero(differs)) // SECTOR - offset // SECTOR] = False
