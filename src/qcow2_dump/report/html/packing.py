"""Columns of numbers packed small enough to lie inside a page."""

import base64
import zlib
from collections.abc import Mapping, Sequence
from typing import TypedDict

import numpy as np
from numpy.typing import NDArray

__all__ = ["Packed", "pack"]

_LEVEL = 6


class Packed(TypedDict):
    """What the scripts of the page unpack: ``columns`` are names and widths in bytes.

    ``data`` is base64 of a zlib stream: of each column all lowest bytes, then all of the next
    higher ones, and so on, which deflates far better than whole numbers do.
    """

    count: int
    columns: Sequence[tuple[str, int]]
    data: str


def pack(columns: Mapping[str, NDArray[np.unsignedinteger] | NDArray[np.int64]]) -> Packed:
    """Pack columns of one length whose numbers are not negative."""
    count = len(next(iter(columns.values())))
    widths: list[tuple[str, int]] = []
    planes: list[bytes] = []
    for name, column in columns.items():
        raw = np.ascontiguousarray(column, dtype="<u8").view(np.uint8).reshape(-1, 8)
        # The highest bytes are zero in nearly all columns, and need not be told.
        width = max(1, -(-int(column.max()).bit_length() // 8)) if count else 1
        planes.append(np.ascontiguousarray(raw[:, :width].T).tobytes())
        widths.append((name, width))
    data = zlib.compress(b"".join(planes), _LEVEL)
    return {"count": count, "columns": widths, "data": base64.b64encode(data).decode("ascii")}
