"""What `info` prints for people, line by line."""

from dataclasses import replace
from pathlib import Path

import pytest

from qcow2_dump.image.image import Image
from qcow2_dump.image.info import FileFacts, ImageInfo
from qcow2_dump.operations.requests import InfoRequest
from qcow2_dump.operations.viewing_info import gather_info, read_infos
from qcow2_dump.report.info_text import info_report
from qcow2_dump.report.style import Style
from qcow2_dump.storage.memory import MemorySource
from tests.builder.build import build
from tests.builder.built import BuiltImage
from tests.builder.spec import BitmapSpec, Data, ImageSpec, SnapshotSpec
from tests.builder.std import STD_SPEC, std_image
from tests.ondisk.test_luks import header as luks_header

GIB = 1 << 30

PLAIN = """\
disk.qcow2: qcow2 version 3 (compat 1.1), 64 MiB disk

  virtual size      64 MiB (67,108,864 bytes)
  on disk           256 KiB (262,144 bytes) on ext4
  file length       512 KiB (524,288 bytes)
  cluster size      64 KiB (65,536 bytes)
  preallocation     off
  compression       zlib
  refcounts         16 bits

  header            112 bytes, extensions: feature names
  L1 table          1 entry at 0x30000
  refcount table    1 cluster at 0x10000
"""

EVERYTHING = """\
disk.qcow2: qcow2 version 3 (compat 1.1), 64 MiB disk, marked corrupt, dirty: refcounts may be \
out of date

  virtual size      64 MiB (67,108,864 bytes)
  on disk           256 KiB (262,144 bytes) on ext4
  file length       832 KiB (851,968 bytes)
  cluster size      64 KiB (65,536 bytes), 32 subclusters of 2 KiB
  preallocation     off
  compression       zstd
  refcounts         64 bits, lazy
  encryption        LUKS, aes-256, xts-plain64, sha256
                    header of 4 KiB at 0x90000, 1 of 8 key slots used, UUID \
cb698854-bb84-448d-94e3-991019ce44fb
  backing file      "base.raw", format raw, missing

  header            112 bytes, extensions: backing format, crypto, bitmaps, 0x12345678 \
(unknown, 7 bytes)
  L1 table          1 entry at 0x30000
  refcount table    1 cluster at 0x10000
  snapshot table    2 snapshots at 0x80000
  bitmap directory  2 bitmaps at 0xa0000

  features
    incompatible   0   dirty bit
    incompatible   1   corrupt bit
    incompatible   3   compression type
    incompatible   4   extended L2 entries
    compatible     0   lazy refcounts
    compatible    40   unknown
    autoclear      0   bitmaps

  snapshots (dates in UTC)
         ID  name       date                 VM state  VM clock      disk    icount
    [0]  1   "monday"   2023-11-14 22:13:20  none      00:00:00.000  64 MiB  0
    [1]  2   "running"  2024-02-29 12:34:56  5 GiB     27:46:40.001  64 MiB  12,345

  bitmaps
    "one", granularity 64 KiB, auto, table at 0xb0000
    "two", granularity 512 bytes, in use, auto, table at 0xc0000
"""

SPECIAL = ImageSpec(
    content={0: Data(17)},
    extended_l2=True,
    compression_type=1,
    refcount_order=6,
    incompatible=3,
    compatible=1 | 1 << 40,
    crypt_method=2,
    luks=luks_header().ljust(4096, b"\0"),
    backing_name="base.raw",
    backing_format="raw",
    extensions=((0x12345678, b"unknown"),),
    snapshots=(
        SnapshotSpec("1", "monday"),
        SnapshotSpec(
            "2",
            "running",
            vm_state_size=5 * GIB,
            icount=12345,
            date_sec=1709210096,
            vm_clock_nsec=100_000_001_000_000,
        ),
    ),
    bitmaps=(BitmapSpec("one"), BitmapSpec("two", granularity_bits=9, flags=3)),
)


def info_of(built: BuiltImage) -> ImageInfo:
    """What is gathered of an image, as if it lay in the current folder of a certain system."""
    info = gather_info(Image(MemorySource(built.data.to_bytes(), "disk.qcow2")))
    facts = FileFacts("disk.qcow2", len(built.data), 0x40000, "ext4", is_device=False)
    return info._replace(file=facts)


def report(info: ImageInfo, *, color: bool = False) -> str:
    return "".join(line + "\n" for line in info_report(info, Style(color)))


def section(text: str, title: str) -> list[str]:
    """The lines below a title."""
    lines = text.splitlines()
    start = next(number for number, line in enumerate(lines) if line.startswith(f"  {title}"))
    below = lines[start + 1 :]
    return below[: below.index("")] if "" in below else below


def test_a_plain_image() -> None:
    assert report(info_of(std_image())) == PLAIN


def test_an_image_with_everything(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    info = info_of(build(SPECIAL))
    assert info.preallocation.mode == "off"
    assert report(info) == EVERYTHING


def test_colours_change_no_word() -> None:
    info = info_of(build(SPECIAL))
    colored = report(info, color=True)
    assert "\x1b[1m" in colored
    for code in ("\x1b[1m", "\x1b[2m", "\x1b[0m"):
        colored = colored.replace(code, "")
    assert colored == report(info)


def test_names_of_features_that_disagree_are_shown() -> None:
    table = bytes([0, 0]) + b"soiled".ljust(46, b"\0")
    table += bytes([1, 40]) + b"something new".ljust(46, b"\0")
    spec = ImageSpec(compatible=1 << 40, extensions=((0x6803F857, table),))
    assert section(report(info_of(build(spec))), "features") == [
        '    incompatible   0   dirty bit, the image calls it "soiled" (not set)',
        '    compatible    40   unknown, the image calls it "something new"',
    ]


def test_problems_are_told_with_the_next_command() -> None:
    built = std_image(snapshots=(SnapshotSpec("1", "monday"),))
    built.poke(64, 0x200)
    lines = report(info_of(built)).splitlines()
    aligned = "a multiple of the cluster size, 65536"
    assert lines[-5:] == [
        "  problems",
        f"    snapshot table: snapshots_offset is 0x200, must be {aligned}",
        "    snapshot table: 1 of 1 records are not there",
        "",
        "  next: qcow2-dump check disk.qcow2",
    ]


def test_long_tables_are_cut_short() -> None:
    snapshots = tuple(SnapshotSpec(str(number), "x") for number in range(1, 251))
    text = report(info_of(std_image(snapshots=snapshots, refcount_order=5)))
    lines = section(text, "snapshots")
    assert len(lines) == 1 + 200 + 1
    assert lines[-2].startswith("    [199]  200")
    assert lines[-1] == "    and 50 more (--json has all)"


def test_stale_bitmaps_are_marked() -> None:
    built = build(SPECIAL)
    built.poke(88, 0)
    text = report(info_of(built))
    assert "  bitmaps (out of date: QEMU ignores them)\n" in text


def test_a_granularity_beyond_all_measure_is_shown() -> None:
    built = build(SPECIAL)
    built.poke(built.places.bitmaps[0].record + 17, 255, 1)
    assert '"one", granularity 2^255 bytes' in report(info_of(built))


@pytest.mark.parametrize(
    ("method", "words"), [(1, "AES-CBC"), (7, "unknown method 7"), (2, "LUKS\n")]
)
def test_encryption_without_a_luks_header(method: int, words: str) -> None:
    built = std_image()
    built.poke(32, method, 4)
    assert words in report(info_of(built))


def test_where_the_backing_file_is(tmp_path: Path) -> None:
    std_image().write_to(tmp_path / "base")
    path = std_image(backing_name="base", backing_format="qcow2").write_to(tmp_path / "disk")
    (found,) = read_infos(InfoRequest(images=(str(path),), chain=True))
    assert isinstance(found, ImageInfo)
    text = report(found)
    assert f'"base", format qcow2, there as "{tmp_path}/base"' in text.replace("…", "")
    (line,) = section(text, "backing chain")
    assert line.startswith("    1  ")
    assert ", qcow2, 64 MiB disk, " in line


def test_a_backing_file_that_is_no_file() -> None:
    text = report(info_of(std_image(backing_name="nbd:host", backing_format="raw")))
    assert 'backing file      "nbd:host", format raw, not the path of a file' in text


def test_a_disk_of_an_empty_size_has_a_report() -> None:
    built = build(replace(STD_SPEC, content={}))
    built.poke(24, 0)
    assert "virtual size      0 bytes\n" in report(info_of(built))
