"""What is gathered of an image, and what damage costs."""

from dataclasses import replace
from pathlib import Path

import pytest

from qcow2_dump.image.image import Image
from qcow2_dump.image.info import ImageInfo, InfoFailure, Problem
from qcow2_dump.ondisk.constants import ExtensionType
from qcow2_dump.ondisk.extension_records import FeatureName
from qcow2_dump.operations.requests import InfoRequest
from qcow2_dump.operations.viewing_info import gather_info, read_infos
from qcow2_dump.storage.memory import MemorySource
from qcow2_dump.storage.wrappers import FailingSource
from tests.builder.build import build
from tests.builder.built import BuiltImage
from tests.builder.spec import BitmapSpec, ImageSpec, SnapshotSpec
from tests.builder.std import STD_SPEC, std_image
from tests.ondisk.test_luks import header as luks_header

SNAPSHOTS = (SnapshotSpec("1", "monday"), SnapshotSpec("2", "tuesday"))
BITMAPS = (BitmapSpec("one"), BitmapSpec("two", granularity_bits=9, flags=3))
FULL_SPEC = replace(
    STD_SPEC,
    snapshots=SNAPSHOTS,
    bitmaps=BITMAPS,
    crypt_method=2,
    luks=luks_header().ljust(4096, b"\0"),
)


def source_of(built: BuiltImage) -> MemorySource:
    return MemorySource(built.data.to_bytes())


def info_of(built: BuiltImage) -> ImageInfo:
    return gather_info(Image(source_of(built)))


def one(path: Path, **changes: bool) -> ImageInfo | InfoFailure:
    (found,) = read_infos(InfoRequest(images=(str(path),), **changes))
    return found


def read(path: Path, **changes: bool) -> ImageInfo:
    found = one(path, **changes)
    assert isinstance(found, ImageInfo)
    return found


def test_a_sound_image_has_no_problems() -> None:
    info = info_of(build(FULL_SPEC))
    assert info.problems == ()
    assert [entry.record.name for entry in info.snapshots] == [b"monday", b"tuesday"]
    assert [item.entry.name for item in info.bitmaps] == [b"one", b"two"]
    assert info.bitmaps_valid
    assert info.encryption is not None
    assert info.encryption.luks is not None
    assert info.chain is None


@pytest.mark.parametrize(
    ("part", "lost"),
    [
        ("snapshot table", "snapshots"),
        ("bitmap directory", "bitmaps"),
        ("LUKS header", "encryption"),
    ],
)
def test_an_unreadable_part_costs_only_itself(part: str, lost: str) -> None:
    built = build(FULL_SPEC)
    sound = info_of(built)
    assert sound.bitmaps_extension is not None
    assert sound.encryption is not None
    at = {
        "snapshots": sound.header.snapshots_offset,
        "bitmaps": sound.bitmaps_extension.directory_offset,
        "encryption": sound.encryption.offset or 0,
    }[lost]
    info = gather_info(Image(FailingSource(source_of(built), (at, at + 1))))
    (problem,) = info.problems
    assert problem.part == part
    assert problem.message == f"cannot read at offset {at:#x}: Input/output error"
    for name in ("snapshots", "bitmaps", "encryption", "features", "extensions"):
        assert (getattr(info, name) == getattr(sound, name)) == (name != lost)
    # The method and the place are known from the header.
    assert info.encryption is not None
    assert info.encryption.offset == sound.encryption.offset


@pytest.mark.parametrize("offset", [0x200, 1 << 62, 0x7FFF_FFFF_FFFF_0000])
def test_a_snapshot_table_in_the_wrong_place_is_told(offset: int) -> None:
    built = build(FULL_SPEC)
    built.poke(64, offset)
    info = info_of(built)
    assert info.snapshots == ()
    assert Problem("snapshot table", "2 of 2 records are not there") in info.problems
    assert len(info.bitmaps) == 2


def test_records_past_the_end_of_the_file_are_not_there() -> None:
    built = std_image(snapshots=SNAPSHOTS)
    built.poke(60, 50_000, 4)
    info = info_of(built)
    size = len(built.data)
    assert all(entry.offset < size for entry in info.snapshots)
    left = 50_000 - len(info.snapshots)
    assert Problem("snapshot table", f"{left} of 50000 records are not there") in info.problems


def test_a_record_that_is_cut_off_is_told() -> None:
    built = std_image(snapshots=SNAPSHOTS)
    last = built.places.snapshot_records[1]
    built.truncate(last + 50)
    info = info_of(built)
    assert len(info.snapshots) == 2
    expected = Problem("snapshot[1]", "its record is cut off by the end of the file")
    assert expected in info.problems


def test_what_breaks_a_rule_in_a_record_is_told() -> None:
    built = build(FULL_SPEC)
    built.poke(built.places.snapshot_records[1], 0x80200)
    built.poke(built.places.bitmaps[0].record + 16, 7, 1)
    parts = [problem.part for problem in info_of(built).problems]
    assert parts == ["snapshot[1]", "bitmap[0]"]


def test_bitmaps_that_the_header_does_not_vouch_for_are_shown_and_told() -> None:
    built = build(FULL_SPEC)
    built.poke(88, 0)
    info = info_of(built)
    assert not info.bitmaps_valid
    assert len(info.bitmaps) == 2
    assert [problem.part for problem in info.problems] == ["bitmap directory"]


@pytest.mark.parametrize("offset", [0x10000, 1 << 62, 0x7FFF_FFFF_FFFF_0000])
def test_a_luks_header_in_the_wrong_place_is_told(offset: int) -> None:
    built = build(FULL_SPEC)
    extension = next(e for e in info_of(built).extensions if e.name == "crypto")
    built.poke(extension.offset + 8, offset)
    info = info_of(built)
    assert info.encryption is not None
    assert info.encryption.luks is None
    assert info.problems[-1].part == "LUKS header"


def test_features_have_the_names_of_the_format_and_of_the_image() -> None:
    table = bytes([0, 0]) + b"soiled".ljust(46, b"\0")
    table += bytes([1, 40]) + b"something new".ljust(46, b"\0")
    table += bytes([2, 0]) + b"bitmaps".ljust(46, b"\0")
    table += bytes([9, 200]) + b"\xff".ljust(46, b"\0")
    spec = ImageSpec(compatible=1 << 40, autoclear=1 << 63, extensions=((0x6803F857, table),))
    found = {(f.word, f.bit): f for f in info_of(build(spec)).features}
    soiled = found[0, 0]
    assert (soiled.is_set, soiled.known, soiled.names) == (False, "dirty bit", (b"soiled",))
    assert soiled.disagrees
    new = found[1, 40]
    assert (new.is_set, new.known, new.names) == (True, None, (b"something new",))
    assert not new.disagrees
    assert not found[2, 0].disagrees
    assert (found[2, 63].is_set, found[2, 63].names) == (True, ())
    assert (found[9, 200].is_set, found[9, 200].names) == (False, (b"\xff",))
    assert not found[0, 4].names


def test_version_2_has_no_features() -> None:
    assert info_of(build(ImageSpec(version=2))).features == ()


@pytest.mark.parametrize(
    ("name", "look", "presence"),
    [
        ("base", True, "there"),
        ("gone", True, "missing"),
        ("dangling", True, "missing"),
        ("gone", False, "not looked for"),
        ("nbd:localhost", True, "not a path"),
        ("nbd:localhost", False, "not a path"),
    ],
)
def test_whether_the_backing_file_is_there(
    name: str, look: bool, presence: str, tmp_path: Path
) -> None:
    (tmp_path / "base").touch()
    (tmp_path / "dangling").symlink_to("gone")
    path = std_image(backing_name=name, backing_format="raw").write_to(tmp_path / "disk")
    info = read(path, look_for_backing=look)
    assert info.backing is not None
    assert (info.backing.presence, info.backing.format) == (presence, b"raw")


@pytest.mark.parametrize("there", [True, False])
def test_whether_the_data_file_is_there(there: bool, tmp_path: Path) -> None:
    path = std_image(data_file="disk.raw").write_to(tmp_path / "disk")
    if not there:
        (tmp_path / "disk.raw").unlink()
    info = read(path)
    assert info.data_file is not None
    assert info.data_file.stored == b"disk.raw"
    assert (info.data_file.used, info.data_file.raw) == (True, False)
    assert info.data_file.presence == ("there" if there else "missing")


def test_an_image_that_does_not_name_its_data_file(tmp_path: Path) -> None:
    built = std_image()
    built.poke(72, 4)
    info = info_of(built)
    assert info.data_file is not None
    assert info.data_file.stored is None
    assert [problem.part for problem in info.problems] == ["header extensions"]


def test_the_file_itself(tmp_path: Path) -> None:
    path = std_image().write_to(tmp_path / "disk")
    file = read(path).file
    status = path.stat()
    assert (file.name, file.length) == (str(path), status.st_size)
    assert file.allocated == status.st_blocks * 512
    assert file.file_system
    assert not file.is_device


def test_several_images_and_what_cannot_be_one(tmp_path: Path) -> None:
    good = std_image().write_to(tmp_path / "good")
    (tmp_path / "text").write_text("text")
    names = tuple(map(str, (good, tmp_path / "text", tmp_path / "gone", tmp_path, good)))
    first, text, gone, folder, last = read_infos(InfoRequest(images=names))
    assert isinstance(first, ImageInfo)
    assert isinstance(last, ImageInfo)
    assert isinstance(text, InfoFailure)
    assert text.fields == ()
    assert "not a qcow2 image" in text.reason
    assert isinstance(gone, InfoFailure)
    assert (gone.errno, gone.reason) == (2, "No such file or directory")
    assert isinstance(folder, InfoFailure)
    assert folder.errno == 21


@pytest.mark.parametrize(
    ("offset", "value", "width", "words", "fields"),
    [
        (20, 40, 4, "cluster_bits is 40", 19),
        (4, 7, 4, "unsupported qcow2 version 7", 19),
        (4, 1, 4, "unsupported qcow2 version 1", 13),
    ],
)
def test_a_header_that_makes_no_sense_is_given_as_it_is(
    offset: int, value: int, width: int, words: str, fields: int, tmp_path: Path
) -> None:
    built = std_image()
    built.poke(offset, value, width)
    found = one(built.write_to(tmp_path / "disk"))
    assert isinstance(found, InfoFailure)
    assert words in found.reason
    assert len(found.fields) == fields
    assert {field.offset: stored for field, stored in found.fields}[offset] == value


def test_an_unknown_feature_costs_nothing_but_certainty(tmp_path: Path) -> None:
    names = FeatureName(0, 50, b"new\x1bidea").pack() + FeatureName(1, 51, b"other").pack()
    spec = replace(
        FULL_SPEC, feature_table=False, extensions=((ExtensionType.FEATURE_NAMES, names),)
    )
    built = build(spec)
    built.poke(72, 1 << 50 | 1 << 51, 8)
    info = read(built.write_to(tmp_path / "disk"))
    assert [entry.record.name for entry in info.snapshots] == [b"monday", b"tuesday"]
    assert len(info.bitmaps) == 2
    (problem,) = info.problems
    assert problem.part == "header"
    expected = 'unknown incompatible features: bit 50 ("new\x1bidea"), bit 51; '
    assert problem.message.startswith(expected)
    assert info.preallocation.mode is None
    (feature,) = (f for f in info.features if (f.word, f.bit) == (0, 50))
    assert feature.is_set
    assert feature.names == (b"new\x1bidea",)


def test_the_chain_is_walked_only_when_asked_for(tmp_path: Path) -> None:
    std_image(snapshots=SNAPSHOTS).write_to(tmp_path / "base")
    path = std_image(backing_name="base", backing_format="qcow2").write_to(tmp_path / "disk")
    assert read(path).chain is None
    (link,) = read(path, chain=True).chain or ()
    assert (link.depth, link.format, link.problem) == (1, "qcow2", None)
    assert link.info is not None
    assert len(link.info.snapshots) == 2
    assert link.file == link.info.file


def test_no_descriptor_stays_open(tmp_path: Path) -> None:
    std_image().write_to(tmp_path / "base")
    path = std_image(backing_name="base").write_to(tmp_path / "disk")
    before = len(list(Path("/proc/self/fd").iterdir()))
    read(path, chain=True)
    assert len(list(Path("/proc/self/fd").iterdir())) == before


def test_a_chain_does_not_look_for_more_than_was_asked(tmp_path: Path) -> None:
    std_image(backing_name="gone").write_to(tmp_path / "base")
    path = std_image(backing_name="base", backing_format="qcow2").write_to(tmp_path / "disk")
    (link, last) = read(path, chain=True, look_for_backing=False).chain or ()
    assert link.info is not None
    assert link.info.backing is not None
    assert link.info.backing.presence == "not looked for"
    assert last.problem == "No such file or directory"
