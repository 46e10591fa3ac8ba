"""Another backing file name: where it goes, what must not be touched, and when it is refused."""

import errno
import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from qcow2_dump.errors import RequestError, SourceError, UnsafePlanError
from qcow2_dump.image.image import Image, open_image
from qcow2_dump.planners.fields.backing_name import plan_rebase
from qcow2_dump.planners.proposal import Proposal
from qcow2_dump.storage.memory import MemorySource
from tests.builder.build import build
from tests.builder.spec import BitmapSpec, ImageSpec
from tests.builder.std import std_image
from tests.planners.carrying_out import carry_out, prefixes
from tests.support.qemu import qemu_check, qemu_to_raw, require_qemu, run_tool

UNKNOWN_EXTENSION = (0x12345678, b"unknown!!")


def rebased(path: Path, backing: bytes, *, look: bool = True) -> Proposal:
    """Propose the change, and carry it out."""
    with open_image(path) as image:
        proposal = plan_rebase(image, backing, look_for_backing=look)
    carry_out(path, proposal.plan)
    return proposal


def backing_name(path: Path) -> bytes | None:
    with open_image(path) as image:
        return image.backing_file


def image_of(spec: ImageSpec) -> Image:
    return Image(MemorySource(build(spec).data.to_bytes(), "image"))


def backing_info(path: Path) -> object:
    done = run_tool("qemu-img", "info", "--output=json", path)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout).get("backing-filename")


@pytest.fixture
def overlay(tmp_path: Path) -> Iterator[Path]:
    """An overlay that qemu-img made, of a raw disk of 0x41, beside one of 0x42."""
    require_qemu()
    for name, fill in (("old.raw", b"A"), ("new.raw", b"B")):
        (tmp_path / name).write_bytes(fill * (1 << 20))
    path = tmp_path / "t.qcow2"
    options = ("-q", "-f", "qcow2", "-F", "raw", "-b", "old.raw")
    assert run_tool("qemu-img", "create", *options, path).returncode == 0
    return path


def test_the_guest_then_sees_the_other_file(overlay: Path) -> None:
    proposal = rebased(overlay, b"new.raw")
    assert proposal.notes[0].startswith("No guest data is moved")
    assert len(proposal.notes) == 1
    assert backing_info(overlay) == "new.raw"
    assert qemu_check(overlay).rc == 0
    raw = qemu_to_raw(overlay, overlay.with_suffix(".raw"))
    assert raw.read_bytes() == b"B" * (1 << 20)


def test_back_and_forth_ends_where_it_began(overlay: Path) -> None:
    original = overlay.read_bytes()
    rebased(overlay, b"new.raw")
    rebased(overlay, b"old.raw")
    assert overlay.read_bytes() == original
    assert rebased(overlay, b"old.raw").plan.is_empty


def test_a_crash_leaves_one_name_or_the_other(overlay: Path) -> None:
    with open_image(overlay) as image:
        proposal = plan_rebase(image, b"new.raw")
    seen = []
    for _ in prefixes(overlay, proposal.plan):
        seen.append(backing_name(overlay))
        assert qemu_check(overlay).rc == 0
    assert set(seen) == {b"old.raw", b"new.raw"}
    assert seen[-1] == b"new.raw"


@pytest.mark.parametrize("version", [2, 3])
def test_an_image_without_a_backing_file_gets_one(tmp_path: Path, version: int) -> None:
    require_qemu()
    (tmp_path / "new.raw").write_bytes(b"B" * (1 << 20))
    path = tmp_path / "t.qcow2"
    options = ("-o", "compat=0.10") if version == 2 else ()
    assert run_tool("qemu-img", "create", "-q", "-f", "qcow2", *options, path, "1M").returncode == 0
    proposal = rebased(path, b"new.raw")
    assert "does not say the format" in proposal.notes[1]
    assert backing_info(path) == "new.raw"
    assert qemu_check(path).rc == 0


def test_everything_else_in_the_header_cluster_stays(tmp_path: Path) -> None:
    built = build(
        ImageSpec(
            backing_name="old",
            backing_format="raw",
            feature_table=True,
            header_extra=b"extra field.....",
            extensions=(UNKNOWN_EXTENSION,),
            bitmaps=(BitmapSpec("b"),),
        )
    )
    path = built.write_to(tmp_path / "t.qcow2")
    with open_image(path) as image:
        before = image
    rebased(path, b"x" * 1023, look=False)
    with open_image(path) as image:
        assert image.extensions.extensions == before.extensions.extensions
        assert image.header.unknown == before.header.unknown
        assert image.backing_file == b"x" * 1023
    assert path.read_bytes()[0x10000:] == built.data.to_bytes()[0x10000:]


def test_unknown_autoclear_bits_go_first() -> None:
    proposal = plan_rebase(image_of(ImageSpec(autoclear=1 << 40)), b"x", look_for_backing=False)
    assert next(proposal.plan.writes()).reason == "header.autoclear"


@pytest.mark.parametrize("old", [None, "o" * 100])
def test_how_much_room_there_is_is_said(old: str | None) -> None:
    """Header and end marker take 120 of 512 bytes; a sector is replaced with one write."""
    image = image_of(ImageSpec(cluster_bits=9, virtual_size=1 << 20, backing_name=old))
    fits = plan_rebase(image, b"n" * 392, look_for_backing=False)
    assert fits.plan.bytes_written
    room = 392 if old is None else 292
    with pytest.raises(UnsafePlanError, match=f"has 393 bytes, .* room for {room}"):
        plan_rebase(image, b"n" * 393, look_for_backing=False)


def test_a_name_over_the_old_one_is_one_write(tmp_path: Path) -> None:
    spec = ImageSpec(cluster_bits=9, virtual_size=1 << 20, backing_name="o" * 390)
    path = build(spec).write_to(tmp_path / "t.qcow2")
    proposal = rebased(path, b"n" * 200, look=False)
    assert len(list(proposal.plan.writes())) == 1
    assert backing_name(path) == b"n" * 200
    assert path.read_bytes()[320:512] == bytes(192)


def test_a_raw_data_file_forbids_a_backing_file() -> None:
    image = image_of(ImageSpec(data_file="d.raw", autoclear=2))
    with pytest.raises(RequestError, match="raw disk by itself"):
        plan_rebase(image, b"x", look_for_backing=False)


@pytest.mark.parametrize("name", [b"", b"n" * 1024, b"a\0b"])
def test_names_that_cannot_be(name: bytes) -> None:
    with pytest.raises(RequestError, match="1 to 1,023 bytes"):
        plan_rebase(image_of(ImageSpec()), name, look_for_backing=False)


def test_a_file_that_is_not_there(tmp_path: Path) -> None:
    path = std_image().write_to(tmp_path / "t.qcow2")
    with open_image(path) as image:
        with pytest.raises(SourceError, match=r'"nothing.raw" is not there') as raised:
            plan_rebase(image, b"nothing.raw")
        assert raised.value.errno == errno.ENOENT
        assert not plan_rebase(image, b"nothing.raw", look_for_backing=False).plan.is_empty


def test_a_chain_must_not_come_back_to_the_image(tmp_path: Path) -> None:
    path = std_image().write_to(tmp_path / "t.qcow2")
    build(ImageSpec(backing_name="t.qcow2", backing_format="qcow2")).write_to(tmp_path / "b.qcow2")
    with open_image(path) as image:
        with pytest.raises(RequestError, match="is the image itself"):
            plan_rebase(image, b"t.qcow2")
        with pytest.raises(RequestError, match="backing file number 2"):
            plan_rebase(image, b"b.qcow2")


def test_a_format_that_no_longer_fits_is_kept_and_named(tmp_path: Path) -> None:
    spec = ImageSpec(backing_name="old.raw", backing_format="raw")
    path = build(spec).write_to(tmp_path / "t.qcow2")
    build(ImageSpec()).write_to(tmp_path / "new.qcow2")
    proposal = rebased(path, b"new.qcow2")
    assert "is raw, and this is not changed; it looks like qcow2" in proposal.notes[1]
    with open_image(path) as image:
        assert image.extensions.backing_format == b"raw"


@pytest.mark.parametrize("length", [0xFFFFFFFF, 0xFFF0])
def test_extensions_that_cannot_be_read_are_left_alone(length: int) -> None:
    data = bytearray(build(ImageSpec(extensions=(UNKNOWN_EXTENSION,))).data.to_bytes())
    data[116:120] = length.to_bytes(4, "big")
    with pytest.raises(UnsafePlanError, match="no end marker"):
        plan_rebase(Image(MemorySource(bytes(data))), b"x", look_for_backing=False)


def test_a_list_without_an_end_marker_is_left_alone() -> None:
    """The name begins where the last extension ends: moved, it would read as an extension."""
    data = bytearray(
        build(ImageSpec(extensions=(UNKNOWN_EXTENSION,), backing_name="old")).data.to_bytes()
    )
    data[8:16] = (112 + 24).to_bytes(8, "big")
    with pytest.raises(UnsafePlanError, match="no end marker"):
        plan_rebase(Image(MemorySource(bytes(data))), b"x", look_for_backing=False)


@pytest.mark.parametrize("offset", [8, 0x10001, 2**63, 2**64 - 1])
def test_absurd_places_of_the_old_name(offset: int) -> None:
    data = bytearray(build(ImageSpec(extensions=(UNKNOWN_EXTENSION,))).data.to_bytes())
    data[8:16] = offset.to_bytes(8, "big")
    data[16:20] = b"\xff" * 4
    image = Image(MemorySource(bytes(data)))
    if offset == 8:
        with pytest.raises(UnsafePlanError):
            plan_rebase(image, b"x", look_for_backing=False)
        return
    proposal = plan_rebase(image, b"x", look_for_backing=False)
    assert all(write.end <= 0x10000 for write in proposal.plan.writes())
