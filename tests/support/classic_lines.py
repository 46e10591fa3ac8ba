"""Parses reports in the line shapes of the original tool, as a script that reads them would."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass

_HEX = r"0x([0-9a-f]+)"
_FLAGS = r"(?:  \[0x([0-9a-f]+)(?:: ([A-Z, ]+))?\])?"
_BAD = rf"(?: \[{_HEX}\] \[(unaligned|invalid)\])?"
_TABLE = r"unaligned: (\d+), invalid: (\d+), (?:miss: (\d+), )?unused: (\d+), used: (\d+)"
_COUNTS = r"error: (\d+), leak: (\d+), (?:rebuild: (\d+), )?unused: (\d+), used: (\d+)"

SHAPES = {
    "l1": rf"l1 table\[([ \d]{{3}}\d|\d{{5,}})\], l2 offset: {_HEX}{_FLAGS}{_BAD}",
    "l2": rf"\tl2 table\[([ \d]{{3}}\d|\d{{5,}})\], data offset: {_HEX}{_FLAGS}{_BAD}"
    rf" \| vdisk offset: {_HEX}",
    "l2 entry": r"\tL2 Entry: unaligned: (\d+), invalid: (\d+), unused: (\d+), used: (\d+)"
    r"(?:, compressed: (\d+))?",
    "refcount table": rf"refcount table\[([ \d]{{3}}\d|\d{{5,}})\], offset: {_HEX}{_FLAGS}{_BAD}",
    "refcount": r"\trefcount block\[([ \d]{4}\d|\d{6,})\], refcount: (\d+) \| reference: (\d+)"
    rf"(?: \[(leak|error)\]( \[rebuild\])? \| cluster\[(\d+)\] offset: {_HEX})?",
    "refcount entry": r"\tRefcount: error: (\d+), leak: (\d+), unused: (\d+), used: (\d+)",
    "bitmap": rf"bitmap table\[([ \d]{{3}}\d|\d{{5,}})\], data offset: {_HEX}{_BAD}"
    r"( \[all ones\])?",
    "L1 Table": rf"L1 Table:       {_TABLE}",
    "L2 Table": rf"L2 Table:       {_TABLE}",
    "Bitmap Table": rf"Bitmap Table:   {_TABLE}",
    "Refcount Table": rf"Refcount Table:\t{_TABLE}",
    "Refcount": rf"Refcount:       {_COUNTS}",
    "snapshot": rf"snapshot\[(\d+)\]:\tl1_table_offset: {_HEX}, l1_size: (\d+)",
    "active": rf"active:\tl1_table_offset: {_HEX}, l1_size: (\d+)",
    "tables of": r"(?:The active L1 table|Tables of snapshot .*, position (\d+): L1 table) .*",
}
_PATTERNS = {name: re.compile(shape) for name, shape in SHAPES.items()}

# Whatever starts like a line that scripts parse has to be one.
_LIKE = re.compile(
    r"\s*(l1 table\[|l2 table\[|refcount table\[|refcount block\[|bitmap table\[|L2 Entry|Refcount:"
    r"|L1 Table|L2 Table|Refcount Table|Bitmap Table|snapshot\[\d+\]:)"
)


@dataclass(frozen=True)
class Line:
    """A parsed line: its shape, and what its places hold (None where an optional part is not)."""

    shape: str
    values: tuple[str | None, ...]

    def number(self, place: int, base: int = 10) -> int:
        """One of the values as a number, 0 when missing."""
        value = self.values[place]
        return 0 if value is None else int(value, base)


def parse(text: str) -> Iterator[Line]:
    """The lines of known shape. Raises AssertionError for one that only resembles them."""
    before = ""
    for line in text.splitlines():
        for name, pattern in _PATTERNS.items():
            match = pattern.fullmatch(line)
            if match:
                assert name not in ("l2 entry", "refcount entry") or not before, "no blank line"
                yield Line(name, match.groups())
                break
        else:
            assert not _LIKE.match(line), f"not a known shape: {line!r}"
        before = line
