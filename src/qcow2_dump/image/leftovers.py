"""What earlier changes by this program left in an image.

A repair takes away reasons for doubt: once a mapping is mended, nothing in the image shows any
more that some leaked clusters might have belonged there. Undo files remember it.
"""

from typing import NamedTuple

__all__ = ["NO_LEFTOVERS", "Leftovers", "Ranges"]

Ranges = tuple[tuple[int, int], ...]
"""Ranges of the file in bytes: ``(start, end)``."""


class Leftovers(NamedTuple):
    """Leaked clusters of earlier changes.

    ``kept`` are those that a repair took for possible guest data, ``replaced`` those of structures
    that a change gave up.
    """

    kept: Ranges = ()
    replaced: Ranges = ()


NO_LEFTOVERS = Leftovers()
