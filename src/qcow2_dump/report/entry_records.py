"""Metadata entries as records: one JSON object a line, or one row of a table.

Both have the same fields, named in `FIELDS` with their units. A field that an entry does not have
is missing from its object, and empty in its row; in objects, what an entry could have but has not
is null. Numbers that need all 64 bits are strings of hexadecimal digits.
"""

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from qcow2_dump.report.columns import Decimal, Hexadecimal, Piece, Words, rendered
from qcow2_dump.report.escape import printable

__all__ = ["FIELDS", "FLAG_FIELDS", "Choice", "CsvRows", "Hex", "JsonLines", "Number", "Value"]

FIELDS = (
    "table",
    "tree",
    "snapshot_index",
    "bitmap",
    "l1_index",
    "l2_index",
    "refcount_table_index",
    "refcount_block_index",
    "bitmap_table_index",
    "entry_offset_bytes",
    "type",
    "state",
    "host_offset_bytes",
    "host_length_bytes",
    "guest_offset_bytes",
    "subclusters_allocated",
    "subclusters_zero",
    "cluster",
    "refcount",
    "references",
    "wrong",
)
"""Every field, in order."""

FLAG_FIELDS = ("raw", "flags")
"""The fields that follow when they are asked for."""


@dataclass(frozen=True, slots=True)
class Number:
    """A number of 0 or more in each record; missing where ``where`` is False."""

    values: NDArray[np.unsignedinteger] | NDArray[np.int64]
    where: NDArray[np.bool_] | None = None


@dataclass(frozen=True, slots=True)
class Hex:
    """A number as ``0x`` and hexadecimal digits, at least ``digits`` of them."""

    values: NDArray[np.uint64]
    digits: int = 1


@dataclass(frozen=True, slots=True)
class Choice:
    """One of some words (plain ASCII without quotes) in each record, by its position."""

    codes: NDArray[np.unsignedinteger] | NDArray[np.int64]
    words: tuple[str, ...]


Value = str | int | None | Number | Hex | Choice
"""A field of some records: the same in all of them, or a column."""


class JsonLines:
    """Records as JSON objects, one a line."""

    def __init__(self, fields: tuple[str, ...]) -> None:
        self._fields = fields

    def head(self) -> str:
        """Nothing: objects name their fields."""
        return ""

    def records(self, count: int, values: Mapping[str, Value]) -> Iterator[str]:
        """The lines of ``count`` records."""
        pieces: list[Piece] = [b"{"]
        for field in self._fields:
            if field in values:
                lead = b"" if len(pieces) == 1 else b","
                pieces += [lead + json.dumps(field).encode() + b":", *_json(values[field])]
        yield from rendered(count, *pieces, b"}\n")


class CsvRows:
    """Records as rows of comma-separated values, with the names of all fields at the head."""

    def __init__(self, fields: tuple[str, ...]) -> None:
        self._fields = fields

    def head(self) -> str:
        """The row of names."""
        return ",".join(self._fields) + "\n"

    def records(self, count: int, values: Mapping[str, Value]) -> Iterator[str]:
        """The rows of ``count`` records."""
        pieces: list[Piece] = []
        for field in self._fields:
            pieces += [b"," if pieces else b"", *_csv(values.get(field))]
        yield from rendered(count, *pieces, b"\n")


def _json(value: Value) -> list[Piece]:
    if isinstance(value, Number):
        if value.where is None:
            return [Decimal(value.values)]
        null = Words(value.where.astype(np.uint8), (b"null", b""))
        return [null, Decimal(value.values, where=value.where)]
    if isinstance(value, Hex):
        return [b'"0x', Hexadecimal(value.values, value.digits), b'"']
    if isinstance(value, Choice):
        return [b'"', Words(value.codes, tuple(map(str.encode, value.words))), b'"']
    return [json.dumps(value).encode()]


def _csv(value: Value) -> list[Piece]:
    if isinstance(value, Number):
        return [Decimal(value.values, where=value.where)]
    if isinstance(value, Hex):
        return [b"0x", Hexadecimal(value.values, value.digits)]
    if isinstance(value, Choice):
        return [Words(value.codes, tuple(map(str.encode, value.words)))]
    return [b"" if value is None else _quoted(str(value)).encode()]


def _quoted(text: str) -> str:
    """A cell, in quotes where it needs them; what is not printable is escaped."""
    shown = printable(text)
    if any(character in shown for character in ',"') or shown != shown.strip():
        return '"' + shown.replace('"', '""') + '"'
    return shown
