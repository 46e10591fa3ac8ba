"""Taking back looks at all of what was changed before it says that it can."""

from __future__ import annotations

from pathlib import Path

import pytest

from qcow2_dump.errors import StalePlanError
from qcow2_dump.operations.applying import ChangeRun
from qcow2_dump.operations.undoing import UndoRun
from qcow2_dump.operations.write_requests import RepairRequest, UndoRequest, WriteOptions
from qcow2_dump.plan import spool
from tests.builder.build import build
from tests.builder.spec import Data, ImageSpec

BITS = 12
YES = WriteOptions(yes=True)


@pytest.fixture(autouse=True)
def words_of_little(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(spool, "_SHORTEST_IN_PLACE", 8)


@pytest.mark.parametrize("dry_run", [False, True])
@pytest.mark.parametrize("entry", [2, 9])
def test_an_entry_changed_since_beside_those_of_the_change(
    tmp_path: Path, entry: int, *, dry_run: bool
) -> None:
    """Refcounts, which any use of the image changes, are as they were."""
    image = build(
        ImageSpec(
            cluster_bits=BITS,
            virtual_size=64 << BITS,
            content={index: Data(17 + index) for index in range(8)},
        )
    )
    image.set_refcount(image.active.data[3] >> BITS, 0)
    image.set_l2(0, 3, image.active.data[3])
    path = image.write_to(tmp_path / "t.qcow2")
    before = path.read_bytes()
    with ChangeRun(RepairRequest(image=str(path), everything=True, options=YES)) as run:
        (write,) = [w for w in run.proposal.plan.writes() if w.field.kind == "l2"]
        assert write.new.in_place
        run.apply()
    options = WriteOptions(yes=True, dry_run=dry_run)
    with UndoRun(UndoRequest(image=str(path), options=options)):
        pass
    with path.open("r+b") as file:
        file.seek(write.offset - write.offset % (1 << BITS) + 8 * entry + 7)
        file.write(b"\1")
    altered = path.read_bytes()
    with pytest.raises(StalePlanError, match="no longer those of the plan"):
        UndoRun(UndoRequest(image=str(path), options=options))
    assert path.read_bytes() == altered != before
