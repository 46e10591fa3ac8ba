"""Packed columns: what the scripts of a page unpack is what went in."""

import base64
import zlib

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from qcow2_dump.report.html.packing import Packed, pack


def _unpack(packed: Packed) -> dict[str, list[int]]:
    raw = zlib.decompress(base64.b64decode(packed["data"]))
    found: dict[str, list[int]] = {}
    at = 0
    for name, width in packed["columns"]:
        count = packed["count"]
        planes = [raw[at + byte * count : at + (byte + 1) * count] for byte in range(width)]
        found[name] = [int.from_bytes(bytes(cell), "little") for cell in zip(*planes, strict=True)]
        at += width * count
    assert at == len(raw)
    return found


@given(st.lists(st.tuples(st.integers(0, 2**63 - 1), st.integers(0, 255)), max_size=50))
@settings(max_examples=50)
def test_columns_come_back(rows: list[tuple[int, int]]) -> None:
    large = np.array([row[0] for row in rows], dtype=np.int64)
    small = np.array([row[1] for row in rows], dtype=np.uint8)
    packed = pack({"large": large, "small": small})
    assert packed["count"] == len(rows)
    assert packed["columns"][1] == ("small", 1)
    assert _unpack(packed) == {"large": large.tolist(), "small": small.tolist()} or not rows


def test_columns_take_no_more_bytes_than_their_largest_number() -> None:
    packed = pack({"a": np.array([1, 65536], dtype=np.int64), "b": np.array([0, 0], np.uint16)})
    assert packed["columns"] == [("a", 3), ("b", 1)]
