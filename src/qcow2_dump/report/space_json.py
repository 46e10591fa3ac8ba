"""What fills a file as JSON, and as rows of CSV."""

import csv
import io
import json
from collections.abc import Iterator

from qcow2_dump.checks.space.measured import Measured
from qcow2_dump.checks.space.sums import Part, SnapshotSet, TreeSums
from qcow2_dump.image.image import Image
from qcow2_dump.report import space_document as doc
from qcow2_dump.report.escape import plain, printable
from qcow2_dump.report.space_words import TreeNames, doubt_words

__all__ = ["du_document", "du_rows", "to_line"]

_COLUMNS = (
    "row",
    "what",
    "id",
    "name",
    "virtual_size",
    "referenced",
    "exclusive",
    "shared",
    "vm_state",
    "freed",
    "only_together",
    "bytes",
)

# What a spreadsheet takes for the beginning of a formula.
_FORMULA = ("=", "+", "-", "@")


def to_line(document: doc.DuDocument) -> str:
    """The document as one line of JSON, without the line end; safe for any encoding."""
    return json.dumps(document, ensure_ascii=True, separators=(", ", ": "))


def du_document(measured: Measured, image: Image) -> doc.DuDocument:
    """What was measured, as the document of `space_document.DuDocument`."""
    sums, names = measured.sums, TreeNames(image)
    sets = measured.sets
    return {
        "schema": "qcow2-dump.du/1",
        "image": plain(image.name),
        "length": sums.length,
        "allocated": measured.allocated,
        "allocated_free": sums.allocated_free,
        "cluster_size": image.geometry.cluster_size,
        "parts": [{"part": _NAMES[part], "bytes": length} for part, length in _parts(measured)],
        "trees": [_tree(row, measured, image) for row in _trees(measured)],
        "sets": None if sets is None else [_set(found) for found in sets],
        "without": None if measured.without is None else _set(measured.without),
        "doubts": [
            {
                "kind": doubt.kind,
                "number": doubt.number or None,
                "message": doubt_words(doubt, names),
            }
            for doubt in measured.doubts
        ],
    }


def du_rows(measured: Measured, image: Image) -> Iterator[str]:
    """The lines of a CSV table, the columns' names first.

    A row for each part and tree, for each set that was asked for, for the file as a whole, and
    for each doubt, whose words stand in the column of names.
    """
    yield ",".join(_COLUMNS)
    for part, length in _parts(measured):
        yield _row(row="part", what=part.value, bytes=length)
    records = [entry.record for entry in image.snapshot_table.entries]
    for row in _trees(measured):
        tree = _tree(row, measured, image)
        record = records[row.tree - 1] if row.tree else None
        yield _row(
            row="tree",
            what=_selector(row.tree),
            id=None if record is None else _harmless(record.id),
            name=None if record is None else _harmless(record.name),
            virtual_size=tree["virtual_size"],
            referenced=tree["referenced"],
            exclusive=tree["exclusive"],
            shared=tree["shared"],
            vm_state=tree["vm_state"],
            freed=tree["freed"],
        )
    several = list(measured.sets or ())
    if measured.without is not None:
        several.append(measured.without)
    for found in several:
        what = " ".join(_selector(tree) for tree in found.trees)
        yield _row(row="set", what=what, freed=found.freed, only_together=found.more)
    sums, names = measured.sums, TreeNames(image)
    yield _row(row="file", what="length", bytes=sums.length)
    yield _row(row="file", what="allocated", bytes=measured.allocated)
    yield _row(row="file", what="allocated_free", bytes=sums.allocated_free)
    for doubt in measured.doubts:
        yield _row(row="doubt", what=doubt.kind, name=doubt_words(doubt, names))


_NAMES: dict[Part, doc.PartName] = {part: part.value for part in Part}


def _parts(measured: Measured) -> list[tuple[Part, int]]:
    return sorted(measured.sums.parts.items(), key=lambda row: -row[1])


def _trees(measured: Measured) -> list[TreeSums]:
    return sorted(measured.sums.trees, key=lambda row: (-row.exclusive, row.tree))


def _tree(row: TreeSums, measured: Measured, image: Image) -> doc.TreeSize:
    tree = measured.trees[row.tree]
    record = image.snapshot_table.entries[row.tree - 1].record if row.tree else None
    known = row.known
    return {
        "snapshot": row.tree - 1 if row.tree else None,
        "id": None if record is None else plain(record.id),
        "name": None if record is None else plain(record.name),
        "virtual_size": None if tree.is_blank else tree.disk_size,
        "referenced": row.referenced if known else None,
        "exclusive": row.exclusive if known else None,
        "shared": row.shared if known else None,
        "vm_state": row.vm_state if known else None,
        "freed": row.freed if known else None,
    }


def _set(found: SnapshotSet) -> doc.SetSize:
    return {
        "snapshots": [tree - 1 for tree in found.trees],
        "freed": found.freed,
        "only_together": found.more,
    }


def _selector(tree: int) -> str:
    """How a tree is named on the command line, whatever the image calls it."""
    return f"snapshot[{tree - 1}]" if tree else "active"


def _harmless(name: bytes) -> str:
    """A name from the image, on one line, and never a formula."""
    shown = printable(name)
    return f"'{shown}" if shown.startswith(_FORMULA) else shown


def _row(**cells: int | str | None) -> str:
    line = io.StringIO()
    csv.writer(line, lineterminator="").writerow([cells.get(name) for name in _COLUMNS])
    return line.getvalue()
