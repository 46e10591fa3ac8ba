"""Golden transcripts of the classic report, and how they are made anew.

    python -m tests.cli.transcripts --write

What differs from machine to machine (file system, space on disk) stands as ``...``.
"""

from __future__ import annotations

import contextlib
import io
import os
import re
import sys
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from qcow2_dump.cli.main import main
from tests.builder.build import build
from tests.builder.built import BuiltImage
from tests.builder.spec import (
    ALL_ONES,
    BitmapSpec,
    Compressed,
    Data,
    ImageSpec,
    SnapshotSpec,
    Subclusters,
    ZeroAlloc,
    ZeroPlain,
)

FOLDER = Path(__file__).parent / "golden"
MIB = 1 << 20


@dataclass(frozen=True)
class Transcript:
    """One command line on one image; the image is the last word, in the current folder."""

    name: str
    make: Callable[[], BuiltImage]
    words: tuple[str, ...]

    @property
    def path(self) -> Path:
        """Where its text is kept."""
        return FOLDER / f"{self.name}.txt"

    def run(self, folder: Path) -> str:
        """The command line, its output and its exit status; the image is made in the folder."""
        image = f"{self.name.split('-')[0]}.qcow2"
        self.make().write_to(folder / image)
        out = io.StringIO()
        with contextlib.chdir(folder), contextlib.redirect_stdout(out):
            status = main([*self.words, image])
        text = re.sub(r"^(fs_type|disk_size): .*$", r"\1: ...", out.getvalue(), flags=re.MULTILINE)
        return f"$ qcow2-dump {' '.join(self.words)} {image}\n{text}$ echo $?\n{status}\n"


def sound() -> BuiltImage:
    """Data, zeros and holes; version 2."""
    content = {0: Data(1), 1: Data(2), 5: Data(3), 15: Data(4)}
    return build(ImageSpec(version=2, virtual_size=MIB, content=content))


def damaged() -> BuiltImage:
    """Wrong entries of every kind, in the active layer and in what it shares with a snapshot."""
    content = {guest: Data(guest + 1) for guest in range(12)}
    spec = ImageSpec(virtual_size=MIB, content=content, snapshots=(SnapshotSpec("1", "monday"),))
    image = build(spec)
    first = image.peek(image.l2_entry_offset(0, 0))
    image.set_l2(0, 1, first)
    image.set_l2(0, 2, first + 0x200)
    image.set_l2(0, 3, 0x100000000)
    image.set_l2(0, 4, image.peek(image.l2_entry_offset(0, 4)) | 2)
    image.set_l2(0, 5, image.peek(image.l2_entry_offset(0, 5)) | 1 << 63)
    image.set_refcount(3, 0)
    image.set_refcount(20, 7)
    return image


def rich() -> BuiltImage:
    """Extended L2 entries, compressed clusters, snapshots and bitmaps."""
    content = {
        0: Data(1),
        1: Subclusters(0x0000_0002_0000_0001),
        2: Compressed(5),
        3: Compressed(6),
        7: Subclusters(0xFFFF_FFFF_0000_0000),
    }
    snapshots = (
        SnapshotSpec("1", "monday"),
        SnapshotSpec("2", "tuesday\x1b[31m", content={0: Data(9), 9: Data(8)}, vm_state_size=4096),
    )
    bitmaps = (BitmapSpec("dirty", table={0: b"\xff"}), BitmapSpec("full", table={0: ALL_ONES}))
    return build(
        ImageSpec(
            cluster_bits=14,
            virtual_size=MIB // 4,
            content=content,
            extended_l2=True,
            # The length of a stream depends on the library, its sectors here do not.
            stream_alignment="sector",
            snapshots=snapshots,
            bitmaps=bitmaps,
        )
    )


def zeros() -> BuiltImage:
    """Both kinds of zero clusters, in 512-byte clusters with narrow refcounts."""
    content = {0: Data(1), 1: ZeroAlloc(), 2: ZeroPlain(), 64: Data(2)}
    return build(
        ImageSpec(
            cluster_bits=9, refcount_order=1, virtual_size=64 << 9, content=content, l1_size=2
        )
    )


TRANSCRIPTS = [
    Transcript("sound-check", sound, ("-m", "check", "-p")),
    Transcript("sound-dump", sound, ("-m", "dump", "-f")),
    Transcript("damaged-check", damaged, ("-m", "check")),
    Transcript("damaged-error", damaged, ("-m", "error")),
    Transcript("damaged-tables", damaged, ("-m", "dump", "-o", "snapshot", "-s", "inactive")),
    Transcript("rich-check", rich, ("-m", "check")),
    Transcript("rich-dump", rich, ("-m", "dump", "-f", "-o", "snapshot")),
    Transcript(
        "zeros-dump",
        zeros,
        (
            "-m",
            "dump",
        ),
    ),
]


def write() -> None:
    """Make all transcripts anew."""
    FOLDER.mkdir(exist_ok=True)
    for transcript in TRANSCRIPTS:
        with tempfile.TemporaryDirectory() as folder:
            transcript.path.write_text(transcript.run(Path(folder)), encoding="utf-8")


if __name__ == "__main__":
    if sys.argv[1:] != ["--write"]:
        sys.exit(f"usage: python -m tests.cli.{Path(__file__).stem} --write")
    os.environ["NO_COLOR"] = "1"
    write()
