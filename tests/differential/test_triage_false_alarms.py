"""Sound images set off no alarm, and a leak that is put into them is waste."""

from __future__ import annotations

from pathlib import Path

import pytest

from qcow2_dump import CheckResult, check, open_image
from tests.builder.build import build
from tests.builder.sound_specs import SOUND_SPECS
from tests.builder.spec import ImageSpec
from tests.checks.leaky import end_cluster, leak
from tests.corpus import qemu
from tests.corpus.base import MIB, Base, sparse_copy
from tests.corpus.bases import BASES
from tests.corpus.cases import layout_of, path_of
from tests.corpus.imagefile import ImageFile
from tests.differential.killed_writers import empty_tables

ALARMS = {"l2.wiped", "l2.empty", "leak.orphan-table"}
SOUND_BASES = [base for base in BASES if not base.unclean]


def _checked(path: Path) -> CheckResult:
    with open_image(path) as image:
        return check(image).result


def _assert_quiet(result: CheckResult) -> None:
    assert not ALARMS & result.tallies.keys()
    assert "refcount.leak" not in result.tallies
    assert not result.triage.reasons


def _assert_waste(result: CheckResult) -> None:
    assert (result.triage.waste, result.triage.orphans) == (1, 0), result.triage
    assert not ALARMS & result.tallies.keys()


@pytest.mark.parametrize("base", SOUND_BASES, ids=lambda base: base.name)
def test_no_alarm_in_an_image_of_qemu(base: Base) -> None:
    _assert_quiet(_checked(path_of(base)))


@pytest.mark.parametrize("spec", SOUND_SPECS.values(), ids=SOUND_SPECS.keys())
def test_no_alarm_in_a_built_image(spec: ImageSpec, tmp_path: Path) -> None:
    _assert_quiet(_checked(build(spec).write_to(tmp_path / "image.qcow2")))


@pytest.mark.parametrize("base", SOUND_BASES, ids=lambda base: base.name)
def test_a_leak_in_an_image_of_qemu_is_waste(base: Base, tmp_path: Path) -> None:
    """Unless a table of the image is empty, as QEMU leaves one after zeroing unwritten clusters."""
    path, layout = tmp_path / "image.qcow2", layout_of(base)
    sparse_copy(path_of(base), path)
    with ImageFile(path) as image:
        image.write(layout.clusters * layout.cluster_size, b"w" * layout.cluster_size)
        assert layout.set_refcount(image, layout.clusters, 1), "no room for one more cluster"
    result = _checked(path)
    if empty_tables(path):
        assert ALARMS & result.tallies.keys() <= {"l2.wiped", "l2.empty"}
    else:
        _assert_waste(result)


# By the rules an empty table, or a snapshot without L1 entries, is a reason to keep leaks.
DOUBTFUL = {"empty-l2", "snapshot-l1-empty"}


@pytest.mark.parametrize("name", [name for name in SOUND_SPECS if name not in DOUBTFUL])
def test_a_leak_in_a_built_image_is_waste(name: str, tmp_path: Path) -> None:
    image = build(SOUND_SPECS[name])
    assert end_cluster(image) // image.spec.block_entries in image.places.refcount_blocks
    leak(image)
    _assert_waste(_checked(image.write_to(tmp_path / "image.qcow2")))


@pytest.mark.parametrize("compat", ["0.10", "1.1"])
def test_no_alarm_where_a_disk_was_discarded(compat: str, tmp_path: Path) -> None:
    """Whole tables, with and without a snapshot that still has them."""
    path = tmp_path / "image.qcow2"
    qemu.create(path, 16 * MIB, cluster_size=4096, compat=compat)
    qemu.io(path, ["write -P 1 0 8M"])
    qemu.img("snapshot", "-c", "full", path)
    qemu.io(path, ["discard 0 6M", "write -P 2 1M 64k"])
    _assert_quiet(_checked(path))
    qemu.img("snapshot", "-d", "full", path)
    _assert_quiet(_checked(path))
