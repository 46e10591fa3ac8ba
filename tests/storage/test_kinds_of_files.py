"""What is at a path need not be an image: an answer each time, never a hang."""

import errno
import os
import socket
import stat
import sys
from pathlib import Path

import pytest

from qcow2_dump import SourceError, open_image
from tests.builder.std import std_image
from tests.hostile.running import run
from tests.support.devices import loop_device

CHECK = [sys.executable, "-m", "qcow2_dump", "check"]


def status_of(number: int) -> int:
    return 256 - number


def refused(path: Path | str) -> tuple[int, str]:
    """The status of a check, and the line that it leaves on standard error."""
    found = run([*CHECK, str(path)])
    assert not found.stdout
    assert found.stderr.count("\n") == 1
    return found.status, found.stderr


def test_a_fifo(tmp_path: Path) -> None:
    path = tmp_path / "fifo"
    os.mkfifo(path)
    assert refused(path) == (
        status_of(errno.EINVAL),
        f"qcow2-dump check: {path}: neither a regular file nor a block device\n",
    )


def test_a_fifo_that_somebody_writes_to(tmp_path: Path) -> None:
    path = tmp_path / "fifo"
    os.mkfifo(path)
    descriptor = os.open(path, os.O_RDWR)
    try:
        os.write(descriptor, b"QFI\xfb")
        assert refused(path)[0] == status_of(errno.EINVAL)
    finally:
        os.close(descriptor)


def test_a_folder(tmp_path: Path) -> None:
    status, line = refused(tmp_path)
    assert (status, "Is a directory" in line) == (status_of(errno.EISDIR), True)


def test_an_empty_file(tmp_path: Path) -> None:
    path = tmp_path / "empty"
    path.touch()
    status, line = refused(path)
    assert (status, "the file is empty" in line) == (status_of(errno.EINVAL), True)


@pytest.mark.parametrize("device", ["/dev/null", "/dev/zero", "/dev/urandom", "/dev/tty"])
def test_a_character_device(device: str) -> None:
    assert stat.S_ISCHR(Path(device).stat().st_mode)
    assert refused(device)[0] in (status_of(errno.EINVAL), status_of(errno.ENXIO))


def test_a_socket(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)  # a socket's name is short
    with socket.socket(socket.AF_UNIX) as server:
        server.bind("socket")
        assert refused(tmp_path / "socket")[0] == status_of(errno.ENXIO)


def test_what_is_not_there(tmp_path: Path) -> None:
    assert refused(tmp_path / "missing")[0] == status_of(errno.ENOENT)
    assert refused("")[0] == status_of(errno.ENOENT)
    assert refused(tmp_path / ("x" * 300))[0] == status_of(errno.ENAMETOOLONG)


def test_a_link_to_itself(tmp_path: Path) -> None:
    (tmp_path / "loop").symlink_to("loop")
    assert refused(tmp_path / "loop")[0] == status_of(errno.ELOOP)


def test_a_name_with_a_nul_byte() -> None:
    with pytest.raises(SourceError, match="not a path") as caught:
        open_image("disk\0.qcow2")
    assert caught.value.errno == errno.EINVAL


# Whoever may read everything gives that up, once all that it needs is loaded.
_AS_NOBODY = """
import os, sys
from qcow2_dump.cli.main import main
readable, secret = sys.argv[1:]
assert main(["check", readable]) == 0
if os.geteuid() == 0:
    os.setgroups([])
    os.setegid(65534)
    os.seteuid(65534)
sys.exit(main(["check", secret]))
"""


def test_a_file_that_may_not_be_read(tmp_path: Path) -> None:
    readable = std_image().write_to(tmp_path / "readable.qcow2")
    secret = std_image().write_to(tmp_path / "secret.qcow2")
    secret.chmod(0)
    found = run([sys.executable, "-c", _AS_NOBODY, str(readable), str(secret)])
    assert found.status == status_of(errno.EACCES)
    assert found.stderr == f"qcow2-dump check: {secret}: Permission denied\n"


def test_an_image_on_a_block_device(tmp_path: Path) -> None:
    """A device is longer than the image on it, and its ``st_size`` is 0."""
    built = std_image()
    built.set_refcount(6, 3)
    path = built.write_to(tmp_path / "disk.qcow2")
    os.truncate(path, 1 << 20)
    with loop_device(path) as device:
        found = run([*CHECK, "--json", str(device)])
    document = found.document
    assert document["header"]["file_size"] == 1 << 20
    assert document["totals"]["leaks"] == 1
    assert document["totals"]["corruptions"] == 1
    assert {"refcount.leak", "l2.copied"} <= found.codes
