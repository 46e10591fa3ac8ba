"""The dirty and the corrupt flag: set, cleared, refused; nothing else is touched."""

from dataclasses import replace
from pathlib import Path

import pytest

from qcow2_dump.errors import RequestError, UnsafePlanError
from qcow2_dump.image.image import open_image
from qcow2_dump.planners.fields.flags import plan_flag
from qcow2_dump.planners.proposal import Proposal
from tests.builder.build import build
from tests.builder.built import BuiltImage
from tests.builder.std import STD_SPEC, std_image
from tests.planners.carrying_out import carry_out
from tests.support.qemu import qemu_check, qemu_io, require_qemu, run_tool

UNKNOWN_BIT = 1 << 40


def flagged(path: Path, action: str, flag: str, *, free_orphans: bool = False) -> Proposal:
    """Propose the change, and carry it out."""
    with open_image(path) as image:
        proposal = plan_flag(image, action, flag, free_orphans=free_orphans)
    carry_out(path, proposal.plan)
    return proposal


def written(image: BuiltImage, folder: Path) -> Path:
    return image.write_to(folder / "t.qcow2")


@pytest.mark.parametrize(("flag", "bit"), [("dirty", 1), ("corrupt", 2)])
def test_a_flag_is_set_and_cleared_and_nothing_else(tmp_path: Path, flag: str, bit: int) -> None:
    path = written(std_image(), tmp_path)
    original = path.read_bytes()
    flagged(path, "mark", flag)
    marked = path.read_bytes()
    assert marked[79] == original[79] | bit
    assert marked[:79] + marked[80:] == original[:79] + original[80:]
    flagged(path, "clear", flag)
    assert path.read_bytes() == original


@pytest.mark.parametrize("flag", ["dirty", "corrupt"])
def test_a_flag_that_is_as_asked_for_needs_no_plan(tmp_path: Path, flag: str) -> None:
    path = written(std_image(autoclear=UNKNOWN_BIT), tmp_path)
    proposal = flagged(path, "clear", flag)
    assert proposal.plan.is_empty
    assert proposal.notes == [f"The {flag} flag is not set: there is nothing to do."]


@pytest.mark.parametrize("action", ["mark", "clear"])
def test_version_2_has_no_flags(tmp_path: Path, action: str) -> None:
    path = written(build(replace(STD_SPEC, version=2, feature_table=False)), tmp_path)
    with open_image(path) as image, pytest.raises(RequestError, match="version 2"):
        plan_flag(image, action, "dirty")


def test_unknown_autoclear_bits_go_first(tmp_path: Path) -> None:
    path = written(std_image(autoclear=UNKNOWN_BIT), tmp_path)
    proposal = flagged(path, "mark", "corrupt")
    assert [write.reason for write in proposal.plan.writes()] == [
        "header.autoclear",
        "header.corrupt",
    ]
    assert path.read_bytes()[88:96] == bytes(8)


def test_orphans_keep_an_image_from_being_marked_dirty(tmp_path: Path) -> None:
    """Its L1 entry points past the end: what QEMU would free is the guest's disk."""
    image = std_image()
    image.set_l1(0, 0x8000000001000000)
    path = written(image, tmp_path)
    with open_image(path) as opened, pytest.raises(UnsafePlanError, match="4 leaked clusters"):
        plan_flag(opened, "mark", "dirty")
    assert "frees and erases" in flagged(path, "mark", "dirty", free_orphans=True).notes[0]
    assert path.read_bytes()[79] == 1


def test_a_damaged_image_is_cleared_after_a_warning(tmp_path: Path) -> None:
    image = std_image(incompatible=2)
    image.set_refcount(6, 0)
    proposal = flagged(written(image, tmp_path), "clear", "corrupt")
    assert "still has 2 corruptions" in proposal.notes[0]
    assert not proposal.plan.is_empty


def test_qemu_sees_the_flags(tmp_path: Path) -> None:
    require_qemu()
    path = written(std_image(), tmp_path)
    proposal = flagged(path, "mark", "corrupt")
    assert "reading only" in proposal.notes[0]
    assert '"corrupt": true' in run_tool("qemu-img", "info", "--output=json", path).stdout
    assert qemu_io(path, ["write -P 5 0 64k"]).returncode != 0
    assert flagged(path, "clear", "corrupt").notes == []
    assert qemu_io(path, ["write -P 5 0 64k"]).returncode == 0
    flagged(path, "mark", "dirty")
    assert '"dirty-flag": true' in run_tool("qemu-img", "info", "--output=json", path).stdout
    assert qemu_check(path).rc == 0
