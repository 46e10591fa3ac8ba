"""What the check says of snapshot tables that are readable and still cannot be right."""

from pathlib import Path

from qcow2_dump import CheckResult, check, open_image
from tests.builder.built import BuiltImage
from tests.builder.spec import SnapshotSpec
from tests.builder.std import std_image

MONDAY = SnapshotSpec("1", "monday")


def checked(image: BuiltImage, folder: Path) -> CheckResult:
    with open_image(image.write_to(folder / "image.qcow2")) as opened:
        return check(opened).result


def test_snapshots_beside_a_data_file(tmp_path: Path) -> None:
    image = std_image(data_file="disk.raw", snapshots=(MONDAY,))
    (finding,) = [f for f in checked(image, tmp_path).findings if f.code == "snapshot.data-file"]
    assert (finding.offset, finding.value, finding.expected, finding.count) == (60, 1, 0, 1)


def test_a_data_file_alone_is_sound(tmp_path: Path) -> None:
    assert "snapshot.data-file" not in checked(std_image(data_file="disk.raw"), tmp_path).tallies


def test_two_snapshots_of_one_name(tmp_path: Path) -> None:
    image = std_image(snapshots=(MONDAY, SnapshotSpec("2", "monday"), SnapshotSpec("3", "friday")))
    result = checked(image, tmp_path)
    assert list(result.tallies) == ["snapshot.duplicate-name"]
    assert [finding.trees for finding in result.findings] == [("2",)]


def test_two_snapshots_of_one_id(tmp_path: Path) -> None:
    image = std_image(snapshots=(MONDAY, SnapshotSpec("1", "tuesday")))
    assert list(checked(image, tmp_path).tallies) == ["snapshot.duplicate-id"]


def test_snapshots_without_names_share_none(tmp_path: Path) -> None:
    image = std_image(snapshots=(SnapshotSpec("1", ""), SnapshotSpec("2", "")))
    assert not checked(image, tmp_path).tallies
