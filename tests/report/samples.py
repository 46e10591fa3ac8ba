"""Results as a check could leave them, over a real small image."""

from dataclasses import replace
from pathlib import Path

from qcow2_dump.checks.findings import Claimant, Finding, FindingLog, Table
from qcow2_dump.checks.result import (
    CheckResult,
    LeakTriage,
    RefcountStatistics,
    Statistics,
    TableStatistics,
    TreeStatistics,
)
from qcow2_dump.events import ImageChecked
from qcow2_dump.image.image import Image, open_image
from tests.builder.spec import Data, SnapshotSpec
from tests.builder.std import std_image

CLUSTER = 65536


def sample_image(tmp_path: Path, name: str = "disk.qcow2", **changes: object) -> Image:
    """The standard image with one snapshot, opened; its caller closes it."""
    changes.setdefault("snapshots", (SnapshotSpec("1", "monday"),))
    return open_image(std_image(**changes).write_to(tmp_path / name))


def broken_snapshot_names() -> tuple[SnapshotSpec, ...]:
    """A snapshot whose name tries to rule the terminal."""
    return (SnapshotSpec("1", "a\x1b[31m\u202eb\n", content={0: Data(1)}),)


def result(*findings: Finding, limit: int = 1000, **changes: object) -> CheckResult:
    """A result with these findings, counted as the log of a check counts them."""
    log = FindingLog(limit)
    for finding in findings:
        log.add(finding)
    listed = log.listed()
    made = CheckResult(
        cluster_size=CLUSTER,
        statistics=Statistics(image_end_offset=0x80000, total_clusters=1024, allocated_clusters=3),
        trees=[
            TreeStatistics(None, l1=TableStatistics(used=1), l2=TableStatistics(used=3)),
            TreeStatistics(0, l1=TableStatistics(used=1), l2=TableStatistics(used=3)),
        ],
        refcount_table=TableStatistics(used=1, unused=8191),
        refcounts=RefcountStatistics(used=8),
        triage=LeakTriage(),
        tallies=log.tallies,
        findings=listed,
        omitted=log.total - len(listed),
    )
    return replace(made, **changes)  # type: ignore[arg-type]


def checked(made: CheckResult, name: str = "disk.qcow2") -> ImageChecked:
    """The event at the end of a check that took a quarter of a second."""
    return ImageChecked(name, made, 0.25)


def beyond_end(index: int, *trees: str) -> Finding:
    """An L2 entry that points past the end."""
    return Finding(
        code="l2.beyond-end",
        message=f"entry {index} points to 0x900000",
        offset=0x40000 + 8 * index,
        table=Table("l2", 0x40000),
        l1_index=0,
        l2_index=index,
        trees=trees or ("active",),
        trees_total=len(trees) or 1,
        count=1,
        value=0x8000000000900000,
        guest_offset=index * CLUSTER,
        guest_length=CLUSTER,
    )


def leak(cluster: int, triage: str) -> Finding:
    """A cluster that nothing refers to."""
    return Finding(
        code="refcount.leak",
        message="refcount 1, no reference",
        offset=0x20000 + 2 * cluster,
        table=Table("refcount_block", 0x20000),
        count=1,
        triage="orphan" if triage == "orphan" else "waste",
        value=1,
        expected=0,
        cluster=cluster,
    )


def simple(code: str, message: str = "something", **more: object) -> Finding:
    """A finding of any code at no particular place."""
    return replace(Finding(code=code, message=message, count=1), **more)  # type: ignore[arg-type]


def shared() -> Finding:
    """A cluster that guest data and the L1 table both claim."""
    return Finding(
        code="cluster.shared",
        message="cluster 3 has two owners",
        cluster=3,
        offset=0x30000,
        guest_offset=0,
        guest_length=CLUSTER,
        claimants=(
            Claimant("l1", 0x30000, trees=("active",), trees_total=1),
            Claimant("data", 0x40000, 0, 0, 0, ("active", "1"), 2),
        ),
        claimants_total=2,
    )
