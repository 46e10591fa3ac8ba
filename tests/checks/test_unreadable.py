"""Disks that fail under the check, and files that change under it."""

import errno
import itertools
import os
import subprocess
import sys
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import pytest

from qcow2_dump import CheckResult, FormatError, Image, SourceError, check
from qcow2_dump.image.resolver import NeverLook
from qcow2_dump.storage.base import ByteSource
from qcow2_dump.storage.file import FileSource
from qcow2_dump.storage.memory import MemorySource
from qcow2_dump.storage.wrappers import FailingSource, WrappedSource
from tests.builder.build import build
from tests.builder.built import BuiltImage
from tests.builder.spec import BitmapSpec, Compressed, Data, ImageSpec, SnapshotSpec
from tests.cli.running import environment


def everything() -> BuiltImage:
    """An image with every structure there is, and with damage that makes the check look again."""
    built = build(
        ImageSpec(
            cluster_bits=12,
            virtual_size=1 << 22,
            content={0: Data(1), 1: Compressed(2), 2: Data(3), 600: Data(4)},
            snapshots=(SnapshotSpec("1", "one", content={0: Data(9)}),),
            bitmaps=(BitmapSpec("bits", table={0: b"\x0f"}),),
        )
    )
    # Two owners of a cluster, and a leak.
    built.set_l2(0, 2, built.peek(built.l2_entry_offset(0, 0)))
    return built


class Recorder(WrappedSource):
    """Does something before each read, and remembers where it was."""

    def __init__(self, inner: ByteSource, before: Callable[[int], None] = lambda _: None) -> None:
        super().__init__(inner)
        self.reads: list[tuple[int, int]] = []
        self._before = before

    def read_at(self, offset: int, buffer: memoryview) -> int:
        self._before(len(self.reads))
        self.reads.append((offset, len(buffer)))
        return super().read_at(offset, buffer)


def checked(source: ByteSource) -> CheckResult:
    with Image(source, NeverLook()) as image:
        return check(image, deep=True).result


def test_an_error_anywhere_ends_the_check_and_names_the_offset() -> None:
    built = everything()
    data = built.data.to_bytes()
    recorder = Recorder(MemorySource(data))
    assert checked(recorder).statistics.corruptions
    places = built.places
    needed = {
        *(0, places.refcount_table, places.snapshot_table, places.bitmap_directory),
        *(places.bitmaps[0].table, *places.refcount_blocks.values()),
        *(place for layer in places.layers for place in (layer.l1, *layer.l2.values())),
    }
    read = {at for offset, length in recorder.reads for at in range(offset, offset + length, 512)}
    assert needed <= read
    assert built.active.data[1] // 512 * 512 in {at // 512 * 512 for at in read}  # the stream
    for offset, length in sorted(set(recorder.reads)):
        source = FailingSource(MemorySource(data, "disk"), (offset, offset + length))
        with pytest.raises(SourceError, match="cannot read at offset 0x") as caught:
            checked(source)
        assert (caught.value.errno, caught.value.filename) == (errno.EIO, "disk")


_FAILING = """
import sys
from qcow2_dump.cli.main import main
from qcow2_dump.image import image
from qcow2_dump.storage.file import FileSource
from qcow2_dump.storage.wrappers import FailingSource

start = int(sys.argv[1])
image.FileSource = lambda path: FailingSource(FileSource(path), (start, start + 512))
sys.exit(main(sys.argv[2:]))
"""


@pytest.mark.parametrize("where", ["header", "refcount table", "block", "L1", "L2", "snapshots"])
@pytest.mark.parametrize("option", ["--errors", "--json"])
def test_the_command_says_it_in_a_line(tmp_path: Path, where: str, option: str) -> None:
    built = everything()
    places = built.places
    start = {
        "header": 0,
        "refcount table": places.refcount_table,
        "block": places.refcount_blocks[0],
        "L1": built.active.l1,
        "L2": built.active.l2[0],
        "snapshots": places.snapshot_table,
    }[where]
    path = built.write_to(tmp_path / "disk.qcow2")
    done = subprocess.run(
        [sys.executable, "-c", _FAILING, str(start), "check", option, str(path)],
        capture_output=True,
        text=True,
        env=environment(),
        timeout=60,
        check=False,
    )
    assert done.returncode == 256 - errno.EIO
    (line,) = done.stderr.splitlines()
    assert line.startswith(f"qcow2-dump check: {path}: cannot read at offset {start:#x}")
    assert line.endswith("Input/output error")


@pytest.mark.parametrize("length", [0, 1, 4096, 20_000])
def test_a_file_that_shrinks_while_it_is_checked(tmp_path: Path, length: int) -> None:
    built = everything()
    path = tmp_path / "disk.qcow2"
    for moment in itertools.count():
        built.data.write_to(path)

        def shrink(number: int, moment: int = moment) -> None:
            if number == moment:
                os.truncate(path, length)

        source = Recorder(FileSource(path), shrink)
        # What is gone reads as zeros: it is damage, or no image at all, but no failure of ours.
        with suppress(FormatError):
            assert checked(source).complete
        if len(source.reads) <= moment:
            break
    assert moment > 10


def test_a_file_that_grows_while_it_is_checked(tmp_path: Path) -> None:
    path = everything().write_to(tmp_path / "disk.qcow2")

    def grow(number: int) -> None:
        with path.open("ab") as file:
            file.write(b"\xff" * 5000)

    before = checked(FileSource(path))
    after = checked(Recorder(FileSource(path), grow))
    assert after.statistics == before.statistics
