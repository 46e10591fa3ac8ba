"""What undo files tell of leaks: believed as far as it can do no harm."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from qcow2_dump import open_for_change, open_image
from qcow2_dump.checks.result import CheckResult
from qcow2_dump.image.image import Image
from qcow2_dump.image.leftovers import NO_LEFTOVERS, Leftovers
from qcow2_dump.image.state_digest import source_digest
from qcow2_dump.operations.leftovers import KEPT, recall
from qcow2_dump.operations.write_requests import RepairRequest, WriteOptions
from qcow2_dump.plan.apply import apply_plan
from qcow2_dump.plan.journal import create_journal
from qcow2_dump.plan.model import Field, Plan, Write
from qcow2_dump.planners.checked import check_for_planning
from qcow2_dump.storage.memory import MemorySource
from qcow2_dump.storage.writable import WritableFile
from tests.builder.build import build
from tests.builder.built import BuiltImage
from tests.builder.spec import Data, ImageSpec

SIZE = 4096
COPIED = 1 << 63


def sound() -> BuiltImage:
    return build(
        ImageSpec(
            cluster_bits=12,
            virtual_size=32 * SIZE,
            content={index: Data(17 + index) for index in range(8)},
        )
    )


def doubtful() -> BuiltImage:
    """A leak of guest data, and a damaged entry that a repair puts right."""
    image = sound()
    image.set_l2(0, 3, 0)
    image.set_l2(0, 4, COPIED)
    return image


def changed(
    path: Path,
    *,
    kept: Any = None,
    replaced: list[tuple[int, int]] | None = None,
) -> None:
    """Change one byte that nothing depends on, with an undo file that tells such things."""
    with WritableFile(path) as target:
        at = target.size - 1
        plan = Plan("test", target.size)
        old, new = (plan.spool.put(byte) for byte in (target.read(at, 1), b"\x99"))
        plan.steps.append(Write(at, old, new, Field("guest", at, 0), "test", 1))
        journal = create_journal(
            path,
            plan,
            state_before=source_digest(target),
            tool_version="1",
            replaced=replaced or [],
            extra={} if kept is None else {KEPT: kept},
        )
        apply_plan(plan, target, journal, source_digest)
        journal.close()


def recalled(path: Path) -> Leftovers:
    with open_image(path) as image:
        recall(image)
        return image.leftovers


def repaired(path: Path, **choice: Any) -> None:
    request = RepairRequest(image=str(path), options=WriteOptions(yes=True), **choice)
    with open_for_change(request) as run:
        run.apply()


def judged(path: Path) -> CheckResult:
    with open_image(path) as image:
        recall(image)
        return check_for_planning(image).result


def test_without_undo_files_there_is_nothing_to_recall(tmp_path: Path) -> None:
    assert recalled(sound().write_to(tmp_path / "t.qcow2")) is NO_LEFTOVERS


def test_an_image_that_is_no_file_has_none(tmp_path: Path) -> None:
    data = sound().data
    image = Image(MemorySource(data.read(0, len(data))))
    recall(image)
    assert image.leftovers is NO_LEFTOVERS


def test_what_a_repair_kept_the_next_one_keeps_too(tmp_path: Path) -> None:
    """The reason is gone once the entry is mended; the leak may be guest data all the same."""
    path = doubtful().write_to(tmp_path / "t.qcow2")
    repaired(path, everything=True)
    after = judged(path)
    assert after.statistics.corruptions == 0
    assert after.triage.orphans == 2
    held = path.read_bytes()
    repaired(path, everything=True)
    assert path.read_bytes() == held
    repaired(path, free_orphans=True, leaks=True)
    assert judged(path).statistics.leaks == 0


@pytest.mark.parametrize(
    "claim",
    [
        "all of it",
        {"0": 4096},
        [[0]],
        [[0, 1, 2]],
        [[-4096, 4096]],
        [[4096, 0]],
        [[0, 1 << 63]],
        [[0, 10**30]],
        [[0.5, 4096.5]],
        [["0", "4096"]],
        [[None, None]],
        [None, 5, "x"],
        7,
    ],
)
def test_kept_ranges_that_make_no_sense_are_none(claim: Any, tmp_path: Path) -> None:
    path = doubtful().write_to(tmp_path / "t.qcow2")
    changed(path, kept=claim)
    assert recalled(path) == NO_LEFTOVERS
    assert judged(path).triage.orphans == 2


def test_kept_ranges_are_believed_of_any_undo_file(tmp_path: Path) -> None:
    """At worst more is kept."""
    image = sound()
    leaking = image.active.data[3]
    image.set_refcount(leaking >> 12, 2)
    image.set_l2(0, 3, leaking)
    path = image.write_to(tmp_path / "t.qcow2")
    assert judged(path).triage.orphans == 0
    changed(path, kept=[[leaking, leaking + SIZE], "nonsense"])
    changed(path)
    assert recalled(path) == Leftovers(kept=((leaking, leaking + SIZE),))
    assert judged(path).triage.orphans == 1


def used(path: Path, change: Callable[[BuiltImage], None]) -> None:
    """Somebody else changes the image."""
    image = doubtful()
    change(image)
    image.write_to(path)


def test_what_was_replaced_is_believed_while_the_image_is_unchanged(tmp_path: Path) -> None:
    image = doubtful()
    path = image.write_to(tmp_path / "t.qcow2")
    places = [image.active.data[index] for index in (3, 4)]
    claim = [(place, place + SIZE) for place in places]
    changed(path, replaced=claim)
    assert recalled(path).replaced == tuple(claim)
    assert judged(path).triage.orphans == 0
    used(path, lambda again: again.set_refcount(again.active.data[0] >> 12, 2))
    assert recalled(path).replaced == ()
    assert judged(path).triage.orphans == 3


def test_what_an_older_change_replaced_is_not_believed_any_more(tmp_path: Path) -> None:
    image = doubtful()
    path = image.write_to(tmp_path / "t.qcow2")
    place = image.active.data[3]
    changed(path, replaced=[(place, place + SIZE)])
    changed(path)
    assert recalled(path).replaced == ()


@pytest.mark.parametrize("content", [b"", b"\0" * 512, b"qcow2-dump undo", b"\xff" * 5000])
def test_files_that_are_no_undo_files_tell_nothing(content: bytes, tmp_path: Path) -> None:
    path = sound().write_to(tmp_path / "t.qcow2")
    (tmp_path / "t.qcow2.qcow2-undo.1").write_bytes(content)
    assert recalled(path) == NO_LEFTOVERS


def test_a_change_that_is_not_finished_tells_nothing(tmp_path: Path) -> None:
    path = sound().write_to(tmp_path / "t.qcow2")
    with WritableFile(path) as target:
        plan = Plan("test", target.size)
        create_journal(
            path,
            plan,
            state_before=source_digest(target),
            tool_version="1",
            replaced=[(0, SIZE)],
            extra={KEPT: [[0, SIZE]]},
        ).close()
    assert recalled(path) == NO_LEFTOVERS
