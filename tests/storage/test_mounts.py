"""Which file system a file is on."""

import subprocess
from pathlib import Path
from unittest import mock

import pytest

from qcow2_dump.storage import mounts
from qcow2_dump.storage.mounts import file_system

TABLE = b"""\
22 1 8:1 / / rw,relatime shared:1 - ext4 /dev/sda1 rw
30 22 0:27 /vol /srv rw shared:2 master:3 - btrfs /dev/sdb rw
31 30 0:40 / /srv/disk\\040images rw - xfs /dev/sdc rw
32 22 0:41 / /mnt rw - nfs4 server:/export rw
33 22 0:42 / /mnt rw - cifs //server/share rw
"""


@pytest.fixture
def table(tmp_path: Path) -> Path:
    path = tmp_path / "mountinfo"
    path.write_bytes(TABLE)
    return path


@pytest.mark.parametrize(
    ("path", "device", "expected"),
    [
        ("/home/disk", (8, 1), "ext4"),
        # The device decides, wherever the path seems to lie.
        ("/srv/disk", (8, 1), "ext4"),
        # Device numbers that are mounted nowhere: the deepest mount point, by whole names.
        ("/srv/disk", (0, 99), "btrfs"),
        ("/srv/disk images/disk", (0, 99), "xfs"),
        ("/srv2/disk", (0, 99), "ext4"),
        # The later of two mounts in one place hides the earlier.
        ("/mnt/disk", (0, 99), "cifs"),
    ],
)
def test_a_table(path: str, device: tuple[int, int], expected: str, table: Path) -> None:
    import os

    with mock.patch.object(mounts, "_MOUNTS", str(table)):
        assert file_system(path, os.makedev(*device)) == expected


@pytest.mark.parametrize("content", [None, b"", b"nonsense\n\n"])
def test_a_system_that_does_not_tell(content: bytes | None, tmp_path: Path) -> None:
    path = tmp_path / "mountinfo"
    if content is not None:
        path.write_bytes(content)
    with mock.patch.object(mounts, "_MOUNTS", str(path)):
        assert file_system("/disk", 1) is None


def test_this_system_agrees_with_stat(tmp_path: Path) -> None:
    told = subprocess.run(
        ["stat", "-f", "-c", "%T", tmp_path], capture_output=True, text=True, check=True
    ).stdout.strip()
    found = file_system(str(tmp_path), tmp_path.stat().st_dev)
    # stat has one name for the whole family of ext file systems.
    assert found == told or (told == "ext2/ext3" and found in ("ext2", "ext3", "ext4"))
