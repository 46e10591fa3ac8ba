"""A listing shows the first tables at once, and takes no more memory for more entries."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from benchmarks.generate import generate
from benchmarks.spec import GIB
from benchmarks.spec import ImageSpec as LargeImage
from qcow2_dump.checks.listing.entries import L2Listed
from qcow2_dump.events import ImageChecked, ImageOpened, TreeBegun
from qcow2_dump.image.image import Image
from qcow2_dump.operations.listing import Listing, ListingRun
from qcow2_dump.storage.file import FileSource
from qcow2_dump.storage.wrappers import CountingSource
from tests.builder.spec import SnapshotSpec
from tests.builder.std import std_image
from tests.cli.running import environment

MOST_GROWTH = 20 << 20

# The peak as the system counts it carries over from the process that starts another.
_DUMP = """
import re, sys
from qcow2_dump.cli.main import main
status = main(["dump", "--format", sys.argv[1], sys.argv[2]])
with open("/proc/self/status") as lines:
    print(re.search(r"VmHWM:\\s+(\\d+) kB", lines.read())[1], file=sys.stderr)
sys.exit(status)
"""


def peak(image: Path, form: str) -> int:
    """Bytes of memory that a dump takes at its peak."""
    done = subprocess.run(
        [sys.executable, "-c", _DUMP, form, str(image)],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
        env=environment(),
        timeout=120,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return int(done.stderr) * 1024


def test_memory_is_flat_in_the_number_of_entries(tmp_path: Path) -> None:
    small, large = tmp_path / "small.qcow2", tmp_path / "large.qcow2"
    generate(small, LargeImage(GIB))
    generate(large, LargeImage(64 * GIB))
    for form in ("text", "csv"):
        assert peak(large, form) - peak(small, form) < MOST_GROWTH


def test_the_first_table_comes_before_the_rest_is_read(tmp_path: Path) -> None:
    path = tmp_path / "t.qcow2"
    generate(path, LargeImage(64 * GIB))
    source = CountingSource(FileSource(path))
    with Image(source) as image:
        events = iter(ListingRun(image, Listing(entries="all", what="tables")))
        assert isinstance(next(events), ImageOpened)
        assert isinstance(next(events), TreeBegun)
        next(events)
        assert isinstance(next(events), L2Listed)
        # The header cluster, the L1 table, one L2 table, the refcount table.
        assert source.bytes_read < 3 << 20


def test_a_half_is_judged_without_reading_the_other_trees(tmp_path: Path) -> None:
    image = std_image(snapshots=(SnapshotSpec("1", "one", own_tables=True),))
    path = image.write_to(tmp_path / "t.qcow2")
    with Image(FileSource(path)) as opened:
        listing = Listing(entries="none", what="tables", snapshot="active")
        *_, last = ListingRun(opened, listing)
        assert isinstance(last, ImageChecked)
        assert [tree.index for tree in last.result.trees] == [None]
        assert last.result.complete
