"""Disks that are full and undo files that are not what they were: said plainly, nothing lost."""

from __future__ import annotations

import os
import resource
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.cli.running import COMMAND, environment
from tests.corpus import qemu
from tests.corpus.base import KIB, MIB, sparse_copy
from tests.corpus.imagefile import ImageFile
from tests.corpus.layout import COPIED, Layout
from tests.differential.repair_case import REPAIR
from tests.differential.repair_ours import Ran, run, undo_files

EFBIG, ENOSPC = 229, 228


@pytest.fixture
def disk(tmp_path: Path) -> Path:
    """Needs a new refcount block, at the end of the file, and a COPIED flag."""
    path = tmp_path / "disk.qcow2"
    qemu.create(path, 8 * MIB, cluster_size=4 * KIB)
    qemu.io(path, ["write -P 1 0 2M"])
    with ImageFile(path) as image:
        layout = Layout(path)
        image.put(layout.rt_offset, 0)
        entry = layout.active.l1[0].target
        image.put(entry, image.get(entry) ^ COPIED)
    return path


def limited(path: Path, *words: str | Path, size: int) -> Ran:
    """Run a command that can make no file longer than so many bytes."""

    def limit() -> None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (size, size))

    done = subprocess.run(
        [*COMMAND, *(str(word) for word in words), str(path)],
        capture_output=True,
        text=True,
        env=environment(PYTHONDONTWRITEBYTECODE="1"),
        preexec_fn=limit,
        timeout=60,
        check=False,
    )
    return Ran(done.returncode, done.stdout, done.stderr)


def assert_refused(ran: Ran, status: int) -> None:
    """A failure as the table says, in one line."""
    assert ran.status == status, ran
    assert ran.err.count("\n") == 1, ran
    assert "Traceback" not in ran.said


def test_no_room_for_the_undo_file(disk: Path) -> None:
    """Nothing is written then, and nothing left beside the image."""
    before = disk.read_bytes()
    for size in (0, 100, 5000):
        ran = limited(disk, *REPAIR, size=size)
        assert_refused(ran, EFBIG)
        untouched = "nothing was written to the image"
        assert untouched in ran.err or "the image is as it was" in ran.err
        assert disk.read_bytes() == before
        assert undo_files(disk) == []


def test_no_room_in_the_image(disk: Path) -> None:
    """The undo file fits, the new refcount block does not: all is as before."""
    before = disk.read_bytes()
    assert_refused(limited(disk, *REPAIR, size=len(before)), EFBIG)
    assert disk.read_bytes() == before
    assert undo_files(disk) == []
    assert run(*REPAIR, disk).status == 0


def test_a_write_fails_in_the_middle(disk: Path) -> None:
    """A limit inside of the image: some writes succeed, a later one does not."""
    before = disk.read_bytes()
    failed = 0
    for size in range(32 * KIB, len(before), 512 * KIB):
        ran = limited(disk, *REPAIR, size=size)
        if ran.status == 0:
            continue
        failed += 1
        assert_refused(ran, EFBIG)
        assert disk.read_bytes() == before
        assert undo_files(disk) == []
    assert failed


@contextmanager
def small_disk(folder: Path, size: int) -> Iterator[Path]:
    """A file system of so many bytes; skips the test loudly where none can be mounted."""
    folder.mkdir()
    made = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", f"size={size}", "tmpfs", str(folder)],
        capture_output=True,
        text=True,
        check=False,
    )
    if made.returncode != 0:
        message = f"A FULL DISK WAS NOT TESTED: {made.stderr.strip()}"
        if os.environ.get("QCOW2_DUMP_FULL"):
            pytest.fail(message)
        pytest.skip(message)
    try:
        yield folder
    finally:
        subprocess.run(["umount", str(folder)], check=True)


@pytest.mark.parametrize("left", range(0, 64, 4), ids=lambda left: f"{left}k")
def test_a_full_disk(left: int, disk: Path, tmp_path: Path) -> None:
    """So many KiB free: before, in and after the undo file."""
    image = disk.read_bytes()
    with small_disk(tmp_path / "small", (len(image) // KIB + 4 + left) * KIB) as folder:
        path = folder / "disk.qcow2"
        path.write_bytes(image)
        filler = folder / "filler"
        free = shutil.disk_usage(folder).free - left * KIB
        filler.write_bytes(bytes(max(0, free)))
        ran = run(*REPAIR, path)
        if ran.status != 0:
            assert_refused(ran, ENOSPC)
            assert path.read_bytes() == image
            assert undo_files(path) == []
        else:
            filler.unlink()
            assert run("undo", "--yes", path).status == 0
            assert path.read_bytes() == image


@pytest.fixture
def repaired(disk: Path) -> tuple[Path, bytes, bytes]:
    """The image after a repair, its bytes, and those of the undo file."""
    assert run(*REPAIR, disk).status == 0
    (undo,) = undo_files(disk)
    return disk, disk.read_bytes(), undo.read_bytes()


def _assert_unusable(path: Path, image: bytes) -> None:
    ran = run("undo", "--yes", path)
    assert ran.status >= 128, ran
    assert ran.err.count("\n") == 1, ran
    assert path.read_bytes() == image


def test_a_truncated_undo_file(repaired: tuple[Path, bytes, bytes]) -> None:
    path, image, whole = repaired
    (undo,) = undo_files(path)
    for length in (0, 1, 100, 511, 512, len(whole) // 2, len(whole) - 1):
        undo.write_bytes(whole[:length])
        _assert_unusable(path, image)


def test_an_altered_undo_file(repaired: tuple[Path, bytes, bytes]) -> None:
    """Any byte of it, also of what is to be written back."""
    path, image, whole = repaired
    (undo,) = undo_files(path)
    for place in (*range(0, 64, 7), *range(64, len(whole), max(1, len(whole) // 60))):
        undo.write_bytes(whole[:place] + bytes([whole[place] ^ 0x10]) + whole[place + 1 :])
        ran = run("undo", "--yes", path)
        # A byte that no one reads may be altered; then it is taken back as ever.
        if ran.status == 0:
            assert run("undo", "--yes", path).status == 0
            for later in undo_files(path)[1:]:
                later.unlink()
        else:
            assert ran.err.count("\n") == 1, (place, ran)
        assert path.read_bytes() == image, place


def test_the_undo_file_of_another_image(
    repaired: tuple[Path, bytes, bytes], tmp_path: Path
) -> None:
    """It is no danger to another image, and no obstacle to working with that."""
    path, _, whole = repaired
    other = tmp_path / "other.qcow2"
    qemu.create(other, 4 * MIB, cluster_size=4 * KIB)
    qemu.io(other, ["write -P 3 0 64k"])
    before = other.read_bytes()
    beside = other.with_name(undo_files(path)[0].name.replace(path.name, other.name))
    beside.write_bytes(whole)
    _assert_unusable(other, before)
    assert run("check", other).status == 0
    assert run(*REPAIR, other).status == 0
    assert run("flag", "mark", other, "corrupt", "--yes").status == 0
    assert run("undo", "--yes", other).status == 0
    assert other.read_bytes() == before


def test_a_copy_of_the_image_has_nothing_to_undo(repaired: tuple[Path, bytes, bytes]) -> None:
    path, image, _ = repaired
    copy = path.with_name("copy.qcow2")
    sparse_copy(path, copy)
    _assert_unusable(copy, image)


def test_a_link_in_the_place_of_the_undo_file(disk: Path, tmp_path: Path) -> None:
    """Whoever can write to the folder must not have us write elsewhere."""
    victim = tmp_path / "victim"
    victim.write_bytes(b"precious")
    for number in range(1, 4):
        disk.with_name(f"{disk.name}.qcow2-undo.{number}").symlink_to(victim)
    run(*REPAIR, disk)
    assert victim.read_bytes() == b"precious"


@pytest.mark.parametrize("words", [REPAIR, ("undo", "--yes"), ("snapshot", "list")])
def test_no_image(words: tuple[str, ...], tmp_path: Path) -> None:
    missing, text = tmp_path / "missing", tmp_path / "text"
    text.write_text("no image at all")
    assert_refused(run(*words, missing), 254)
    ran = run(*words, text)
    assert ran.status == 234, ran
    assert ran.err.count("\n") == 1
