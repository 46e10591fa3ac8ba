"""What `info --json` says equals what `qemu-img info --output=json` says, wherever that speaks."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest

from qcow2_dump.image.info import ImageInfo
from qcow2_dump.operations.requests import InfoRequest
from qcow2_dump.operations.viewing_info import read_infos
from qcow2_dump.report.classic_header import header_lines, snapshot_lines
from qcow2_dump.report.info_json import failure_document, info_document, to_line
from qcow2_dump.report.info_text import failure_report, info_report
from qcow2_dump.report.style import Style
from tests.builder.build import build
from tests.builder.sound_specs import SOUND_SPECS
from tests.corpus.base import Base
from tests.corpus.bases import BASES
from tests.corpus.cases import Case, fixed_cases, materialize, path_of
from tests.support.qemu import require_qemu, run_tool


def our_document(path: Path, *, chain: bool = False) -> dict[str, Any]:
    """The document that `info --json` prints."""
    (found,) = read_infos(InfoRequest(images=(str(path),), chain=chain))
    if isinstance(found, ImageInfo):
        assert list(info_report(found, Style(color=True)))
        assert list(header_lines(found))
        assert len(list(snapshot_lines(found.snapshots))) == 2 * len(found.snapshots)
        line = to_line(info_document(found))
    else:
        list(failure_report(found, Style()))
        line = to_line(failure_document(found, 234))
    document: dict[str, Any] = json.loads(line)
    return document


def qemu_info(path: Path, *options: str) -> Any:
    """What qemu-img says, None when it does not open the image."""
    require_qemu()
    done = run_tool("qemu-img", "info", "--output=json", *options, "-f", "qcow2", path)
    return json.loads(done.stdout) if done.returncode == 0 else None


def differences(theirs: Any, ours: Any, where: str = "") -> list[str]:
    """Where our document does not hold what theirs holds."""
    if isinstance(theirs, dict) and isinstance(ours, dict):
        return [
            line
            for key, value in theirs.items()
            for line in differences(value, ours.get(key), f"{where}.{key}")
        ]
    if isinstance(theirs, list) and isinstance(ours, list) and len(theirs) == len(ours):
        return [
            line
            for number, pair in enumerate(zip(theirs, ours, strict=True))
            for line in differences(*pair, f"{where}[{number}]")
        ]
    if isinstance(theirs, str) and isinstance(ours, str):
        # qemu-img ends names at a NUL, and does not tell one undecodable byte from another.
        return (
            []
            if "\ufffd" in theirs or theirs == ours.partition("\0")[0]
            else [f"{where}: qemu-img {theirs!r}, we {ours!r}"]
        )
    same = theirs == ours and type(theirs) is type(ours)
    return [] if same else [f"{where}: qemu-img {theirs!r}, we {ours!r}"]


def test_the_comparison_sees_each_kind_of_difference() -> None:
    theirs = {"a": 1, "b": [{"c": True}], "d": "x"}
    assert differences(theirs, {**theirs, "more": 1}) == []
    for ours in ({"a": 1, "b": [{"c": 1}], "d": "x"}, {**theirs, "b": []}, {**theirs, "a": 2}):
        assert len(differences(theirs, ours)) == 1
    assert differences(theirs, {}) == [
        ".a: qemu-img 1, we None",
        ".b: qemu-img [{'c': True}], we None",
        ".d: qemu-img 'x', we None",
    ]


@pytest.mark.parametrize("base", BASES, ids=lambda base: base.name)
def test_a_base_image(base: Base) -> None:
    path = path_of(base)
    theirs = qemu_info(path)
    ours = our_document(path)
    assert theirs is not None
    assert differences(theirs, ours) == []
    # What qemu-img leaves out when there is none, we must not invent.
    assert bool(ours["snapshots"]) == ("snapshots" in theirs)
    assert ours["encrypted"] == theirs.get("encrypted", False)
    assert ours["format-specific"]["data"].keys() == theirs["format-specific"]["data"].keys()
    assert ours.get("backing-filename") == theirs.get("backing-filename")


@pytest.mark.parametrize("base", BASES, ids=lambda base: base.name)
def test_the_chain_of_a_base_image(base: Base) -> None:
    path = path_of(base)
    theirs = qemu_info(path, "--backing-chain")
    ours = our_document(path, chain=True)
    assert len(ours["chain"]) == len(theirs) - 1
    for link, expected in zip(ours["chain"], theirs[1:], strict=True):
        assert link["error"] is None
        assert (link["path"], link["format"]) == (expected["filename"], expected["format"])
        assert link["file"]["allocated"] == expected["actual-size"]
        if link["format"] == "qcow2":
            assert differences(expected, link["info"]) == []
        else:
            assert link["info"] is None
            assert link["file"]["length"] == expected["virtual-size"]


@pytest.mark.parametrize("name", sorted(SOUND_SPECS))
def test_a_sound_image_of_the_builder(name: str, tmp_path: Path) -> None:
    path = build(SOUND_SPECS[name]).write_to(tmp_path / "image.qcow2")
    theirs = qemu_info(path)
    assert theirs is not None
    ours = our_document(path)
    assert differences(theirs, ours) == []
    # QEMU accepts a snapshot without a disk, which we point out.
    assert ours["problems"] == [] or name == "snapshot-l1-empty"


@pytest.mark.parametrize("case", fixed_cases(), ids=lambda case: case.name)
def test_a_damaged_image(case: Case, tmp_path: Path) -> None:
    """We always answer: as qemu-img does, or with what is wrong where it refuses."""
    path = materialize(case, tmp_path)
    try:
        theirs, ours = qemu_info(path), our_document(path)
    finally:
        shutil.rmtree(path.parent)
    if theirs is None:
        # Tables of bitmaps are for the check to read.
        in_tables = case.damage.name in ("bitmap-table", "bitmap-overwritten")
        assert ours.get("error") or ours["problems"] or in_tables
        return
    assert differences(theirs, ours) == []
