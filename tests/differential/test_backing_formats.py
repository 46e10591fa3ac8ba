"""Backing files whose format no image names: what QEMU takes them for, and what we do."""

import json
from pathlib import Path

import pytest

from qcow2_dump.image.chain import open_chain
from qcow2_dump.image.image import open_image
from tests.builder.build import build
from tests.builder.spec import ImageSpec
from tests.support.qemu import require_qemu, run_tool


@pytest.mark.parametrize(
    ("kind", "options"),
    [
        ("vmdk", ("-o", "subformat=monolithicSparse")),
        ("vmdk", ("-o", "subformat=monolithicFlat")),
        ("vdi", ()),
        ("vhdx", ()),
        ("vpc", ("-o", "subformat=dynamic")),
        ("vpc", ("-o", "subformat=fixed")),
        ("qed", ()),
        ("parallels", ()),
        ("qcow", ()),
    ],
)
def test_no_other_format_is_taken_for_raw(
    kind: str, options: tuple[str, ...], tmp_path: Path
) -> None:
    """What QEMU finds by the first bytes is found here, and refused by its name."""
    require_qemu()
    spec = ImageSpec(backing_name="base", backing_format=None)
    path = build(spec).write_to(tmp_path / "top")
    run_tool(
        "qemu-img", "create", "-q", "-f", kind, *options, tmp_path / "base", "4M", cwd=tmp_path
    )
    answer = run_tool("qemu-img", "info", "--output=json", tmp_path / "base")
    theirs = json.loads(answer.stdout)["format"]
    with open_image(path) as image:
        (link,) = open_chain(image)
        link.close()
    assert (link.format, link.probed, link.image) == (theirs, True, None)
    words = None if theirs == "raw" else f"it looks like {kind}, which is not read here"
    assert link.problem == words
    assert (link.source is None) == (theirs != "raw")
