"""A map on paper: as a table for people, or as ``qemu-img map --output=json`` 7.2 prints it."""

import json
from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from qcow2_dump.checks.trees import Tree
from qcow2_dump.image.extents import NO_HOST, ExtentBatch, Runs, merge_runs
from qcow2_dump.image.layers import GuestDisk
from qcow2_dump.image.problems import MappingProblem
from qcow2_dump.ondisk.mapping import ClusterType
from qcow2_dump.report.escape import plain, printable
from qcow2_dump.report.mapping_words import PROBLEM_WORDS, TYPE_NAMES, problem_name
from qcow2_dump.report.style import Style
from qcow2_dump.report.units import counted, size

__all__ = ["map_json", "map_table"]

_EMPTY = '[{ "start": 0, "length": 0, "depth": 0, "present": false, "zero": false, "data": false}]'

# Rows that are formatted at a time.
_ROWS = 1 << 13

# A code is depth, type, zero and problem as one number, the lowest bits last.
_PROBLEM_BITS, _ZERO_BITS, _TYPE_BITS = 4, 1, 3
_TYPE_SHIFT = _PROBLEM_BITS + _ZERO_BITS
_DEPTH_SHIFT = _TYPE_SHIFT + _TYPE_BITS


def map_json(
    batches: Iterator[ExtentBatch], tree: Tree, disk: GuestDisk, *, details: bool
) -> Iterator[str]:
    """The document in pieces, each to be followed by a line end.

    Without ``details`` the keys, the values and the ranges are those of qemu-img 7.2. ``details``
    adds ``compressed``, ``type``, ``snapshot`` (its ID, or null) and ``problem``.
    """
    if disk.size == 0:
        yield _EMPTY
        return
    # QEMU does not tell where an encrypted range lies, as nobody can use the bytes there.
    hidden = np.array([layer.encrypted for layer in disk.layers])
    rows = _JsonRows(tree, details=details)
    lead, last = "[", ""
    for runs in merge_runs(_coded(batches, hidden, exact=details)):
        for start in range(0, len(runs), _ROWS):
            if last:
                yield f"{lead}{last},"
                lead = ""
            last = rows.render(runs.take(slice(start, start + _ROWS)))
    yield f"{lead}{last}]"


def map_table(
    batches: Iterator[ExtentBatch],
    disk: GuestDisk,
    tree_name: str,
    *,
    details: bool,
    style: Style,
) -> Iterator[str]:
    """The lines of the table for people, about a tree as people call it.

    ``details`` adds exact lengths, and what is wrong with a range.
    """
    image = printable(disk.layers[0].source.name)
    yield f"{style.strong(image)}: {tree_name}, {size(disk.size)}"
    table = _Table(disk, details=details)
    yield style.dim(table.heading)
    shown = np.zeros(len(disk.layers), dtype=np.bool_)
    for runs in merge_runs(_coded(batches, shown, exact=True)):
        yield from table.lines(runs)
    yield from table.totals()


def _coded(
    batches: Iterator[ExtentBatch], hidden: NDArray[np.bool_], *, exact: bool
) -> Iterator[Runs]:
    """Extents as runs; their types one by one if ``exact``, or else only as far as QEMU tells."""
    for batch in batches:
        kind = batch.type.astype(np.int64)
        problem = batch.problem.astype(np.int64)
        if not exact:
            # Of the types that are present, QEMU's JSON tells data from what is not.
            kind = _AS_QEMU_TELLS[batch.type]
            problem[:] = 0
        code = batch.depth.astype(np.int64) << _DEPTH_SHIFT | kind << _TYPE_SHIFT
        code |= batch.zero.astype(np.int64) << _PROBLEM_BITS | problem
        host = np.where(hidden[batch.depth], NO_HOST, batch.host)
        yield Runs(batch.start, batch.length, host, code)


_AS_QEMU_TELLS = np.array(
    [
        ClusterType.UNALLOCATED,
        ClusterType.ZERO_PLAIN,
        ClusterType.ZERO_PLAIN,
        ClusterType.NORMAL,
        ClusterType.NORMAL,
    ],
    dtype=np.int64,
)


def _decoded(code: int) -> tuple[int, ClusterType, bool, MappingProblem]:
    """Depth, type, zero and problem of a code."""
    return (
        code >> _DEPTH_SHIFT,
        ClusterType(code >> _TYPE_SHIFT & (1 << _TYPE_BITS) - 1),
        bool(code >> _PROBLEM_BITS & 1),
        MappingProblem(code & (1 << _PROBLEM_BITS) - 1),
    )


class _JsonRows:
    """Formats runs by templates: one ``%`` for thousands of rows, where a row each is slow."""

    def __init__(self, tree: Tree, *, details: bool) -> None:
        self._snapshot = None if tree.is_active else tree.label
        self._details = details
        self._templates: dict[int, str] = {}

    def render(self, runs: Runs) -> str:
        """The rows of some runs, joined by commas and line ends."""
        placed = runs.host != NO_HOST
        numbers = np.stack([runs.start, runs.length, runs.host], axis=1)
        wanted = np.ones(numbers.shape, dtype=np.bool_)
        wanted[:, 2] = placed
        keys = (runs.code * 2 + placed).tolist()
        rows = ",\n".join([self._templates.get(key) or self._template(key) for key in keys])
        return rows % tuple(numbers[wanted].tolist())

    def _template(self, key: int) -> str:
        depth, kind, zero, problem = _decoded(key >> 1)
        packed = kind == ClusterType.COMPRESSED
        data = packed or kind == ClusterType.NORMAL
        words = '{ "start": %d, "length": %d'
        words += f', "depth": {depth}, "present": {_bool(kind != ClusterType.UNALLOCATED)}'
        words += f', "zero": {_bool(zero)}, "data": {_bool(data)}'
        if self._details:
            words += f', "compressed": {_bool(packed)}'
        if key & 1:
            words += ', "offset": %d'
        if self._details:
            more = f', "type": "{TYPE_NAMES[kind]}", "snapshot": {self._snapshot_text(depth)}'
            words += more.replace("%", "%%") + f', "problem": {json.dumps(problem_name(problem))}'
        self._templates[key] = words + "}"
        return self._templates[key]

    def _snapshot_text(self, depth: int) -> str:
        """The snapshot that a row is about; backing files are always seen as they are now."""
        known = depth == 0 and self._snapshot is not None
        return json.dumps(plain(self._snapshot or "") if known else None)


def _bool(value: bool) -> str:
    return "true" if value else "false"


class _Table:
    """Lays extents out in columns, and adds them up."""

    def __init__(self, disk: GuestDisk, *, details: bool) -> None:
        self._disk = disk
        self._details = details
        self._range_width = max(11, 2 * len(f"{max(disk.size - 1, 0):#x}") + 1)
        self._bytes_width = max(5, len(f"{disk.size:,}"))
        self._words: dict[int, tuple[str, str]] = {}
        self._sums: dict[int, int] = {}

    @property
    def heading(self) -> str:
        """The names of the columns."""
        words = f"  {'guest range':<{self._range_width}}  {'length':>10}"
        if self._details:
            words += f"  {'bytes':>{self._bytes_width}}"
        words += f"  {'what':<18}  {'host offset':<14}"
        return (words + ("  in" if len(self._disk.layers) > 1 else "")).rstrip()

    def lines(self, runs: Runs) -> Iterator[str]:
        """A line for each run."""
        columns = (runs.start, runs.length, runs.host, runs.code)
        for start, length, host, code in zip(*(c.tolist() for c in columns), strict=True):
            self._sums[code] = self._sums.get(code, 0) + length
            what, where = self._words.get(code) or self._describe(code)
            words = f"  {f'{start:#x}-{start + length - 1:#x}':<{self._range_width}}"
            words += f"  {size(length):>10}"
            if self._details:
                words += f"  {length:>{self._bytes_width},}"
            place = "" if host == NO_HOST else f"{host:#x}"
            yield f"{words}  {what:<18}  {place:<14}{where}".rstrip()

    def totals(self) -> Iterator[str]:
        """What there was in all, the most first."""
        sums: dict[str, int] = {}
        for code, length in self._sums.items():
            what = self._describe(code)[0]
            sums[what] = sums.get(what, 0) + length
        ordered = sorted(sums.items(), key=lambda item: (-item[1], item[0]))
        shown = "; ".join(f"{size(length)} {what}" for what, length in ordered)
        yield f"  {counted(self._disk.size, 'byte')}: {shown or 'nothing'}"

    def _describe(self, code: int) -> tuple[str, str]:
        depth, kind, zero, problem = _decoded(code)
        layer = self._disk.layers[depth]
        where = f"  {printable(layer.name)}" if len(self._disk.layers) > 1 else ""
        if problem and self._details:
            where += f"  ({PROBLEM_WORDS[problem]})"
        if problem.hides_mapping:
            what = "unreadable"
        elif problem:
            # Where a damaged entry leads is not worth a word more.
            what = f"{_what(kind, zero and kind != ClusterType.NORMAL)}, damaged"
        elif layer.image is None and kind == ClusterType.ZERO_ALLOC:
            what = "hole"
        else:
            what = _what(kind, zero)
        self._words[code] = what, where
        return what, where


def _what(kind: ClusterType, zero: bool) -> str:
    if kind == ClusterType.NORMAL:
        return "data, a hole" if zero else "data"
    if kind == ClusterType.UNALLOCATED:
        return "unallocated" if zero else "in backing file"
    return {
        ClusterType.ZERO_PLAIN: "zeros",
        ClusterType.ZERO_ALLOC: "zeros, allocated",
        ClusterType.COMPRESSED: "compressed",
    }[kind]
