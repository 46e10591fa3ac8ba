"""The tables of counts that `--statistics` adds to a report."""

from collections.abc import Iterator

from qcow2_dump.checks.result import CheckResult, TableStatistics, TreeStatistics
from qcow2_dump.image.image import Image
from qcow2_dump.report.places import Trees
from qcow2_dump.report.units import size

__all__ = ["statistics_lines"]

_COLUMNS = ("entries", "used", "unused", "unaligned", "past the end", "compressed")


def statistics_lines(result: CheckResult, image: Image) -> Iterator[str]:
    """The counts by table, then the refcounts, then the totals as qemu-img names them."""
    yield from _tables(result, image)
    yield ""
    refcounts = result.refcounts
    yield "  refcounts, in clusters"
    yield from _pairs(
        ("used", refcounts.used),
        ("unused", refcounts.unused),
        ("too low", refcounts.error),
        ("stored as 0", refcounts.rebuild),
        ("too high", refcounts.leak),
        ("waste", result.triage.waste),
        ("may be data", result.triage.orphans),
    )
    yield ""
    totals = result.statistics
    yield "  totals, as qemu-img counts them"
    yield from _pairs(
        ("corruptions", totals.corruptions),
        ("leaks", totals.leaks),
        ("check errors", totals.check_errors),
        ("guest clusters", totals.total_clusters),
        ("allocated", totals.allocated_clusters),
        ("fragmented", totals.fragmented_clusters),
        ("compressed", totals.compressed_clusters),
    )
    end = totals.image_end_offset
    yield f"    {'image ends at':<14}{end:>16,}  {size(end)}"


def _tables(result: CheckResult, image: Image) -> Iterator[str]:
    rows: list[tuple[str, TableStatistics]] = []
    trees = Trees(image)
    for tree in result.trees:
        name = _tree_name(tree, image, trees)
        if not tree.examined:
            name += " (not examined)"
        rows += [(f"{name}: L1", tree.l1), (f"{name}: L2", tree.l2)]
    rows.append(("refcount table", result.refcount_table))
    width = max(len(name) for name, _ in rows)
    yield f"  {'entries of':<{width}}" + "".join(f"{column:>14}" for column in _COLUMNS)
    for name, table in rows:
        numbers = (
            table.entries,
            table.used,
            table.unused,
            table.unaligned,
            table.invalid,
            table.compressed,
        )
        yield f"  {name:<{width}}" + "".join(f"{number:>14,}" for number in numbers)


def _tree_name(tree: TreeStatistics, image: Image, trees: Trees) -> str:
    if tree.index is None:
        return "active"
    return trees.of_record(image.snapshot_table.entries[tree.index].record.id)


def _pairs(*pairs: tuple[str, int]) -> Iterator[str]:
    for name, number in pairs:
        yield f"    {name:<14}{number:>16,}"
