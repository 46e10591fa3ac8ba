"""`report`: which files it writes, which it leaves alone, and what it says."""

import errno
import os
import shutil
from pathlib import Path

import pytest

from tests.cli.running import run

DAMAGED = Path("examples/damaged-l2.qcow2")
SOUND = Path("examples/sound.qcow2")


def test_one_image_one_page(tmp_path: Path) -> None:
    page = tmp_path / "report.html"
    done = run("report", DAMAGED, "-o", page)
    assert (done.returncode, done.stderr) == (6, "")
    assert done.stdout.startswith("examples/damaged-l2.qcow2: CORRUPT - 4 kinds of damage")
    assert done.stdout.endswith(f"; see {page}\n")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["report.html"]
    again = run("report", SOUND, "-o", page)
    assert again.returncode == 0
    assert "GOOD" in page.read_text(encoding="utf-8")


def test_several_images_an_index_and_a_page_each(tmp_path: Path) -> None:
    missing = tmp_path / "none.qcow2"
    done = run("report", SOUND, missing, DAMAGED, "--output", tmp_path / "all.htm")
    assert done.returncode == 254
    assert f"qcow2-dump report: {missing}: No such file" in done.stderr
    assert done.stdout.endswith("all.htm: the index\n")
    names = sorted(path.name for path in tmp_path.iterdir())
    assert names == ["all-1.htm", "all-3.htm", "all.htm"]


def test_a_page_without_an_ending_gets_one(tmp_path: Path) -> None:
    for _ in range(2):
        done = run("report", SOUND, "-o", tmp_path / "one")
        assert done.stdout.endswith(f"; see {tmp_path}/one.html\n")
        assert [path.name for path in tmp_path.iterdir()] == ["one.html"]
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    assert run("report", SOUND, "-o", pipe).returncode == 256 - errno.EEXIST


def test_an_index_without_an_ending_gets_that_of_its_pages(tmp_path: Path) -> None:
    done = run("report", SOUND, DAMAGED, "-o", tmp_path / "all")
    assert done.stdout.endswith("all.html: the index\n")
    names = sorted(path.name for path in tmp_path.iterdir())
    assert names == ["all-1.html", "all-2.html", "all.html"]
    assert 'href="all.html"' in (tmp_path / "all-1.html").read_text(encoding="utf-8")
    (tmp_path / "folder").mkdir()
    assert run("report", SOUND, DAMAGED, "-o", tmp_path / "folder").returncode == 256 - errno.EISDIR


def test_a_link_is_followed_to_a_page_and_nowhere_else(tmp_path: Path) -> None:
    page, link = tmp_path / "pages" / "today.html", tmp_path / "latest.html"
    page.parent.mkdir()
    link.symlink_to(page)
    done = run("report", SOUND, "-o", link)
    assert (done.returncode, page.exists()) == (256 - errno.EEXIST, False)
    assert "leads to no file" in done.stderr
    assert run("report", SOUND, "-o", page).returncode == 0
    assert run("report", DAMAGED, "-o", link).returncode == 6
    assert link.is_symlink()
    assert "CORRUPT" in page.read_text(encoding="utf-8")
    assert [path.name for path in page.parent.iterdir()] == ["today.html"]
    other = tmp_path / "notes.txt"
    other.write_text("not to be lost", encoding="utf-8")
    link.unlink()
    link.symlink_to(other)
    assert run("report", SOUND, "-o", link).returncode == 256 - errno.EEXIST
    assert other.read_text(encoding="utf-8") == "not to be lost"


@pytest.mark.parametrize("content", [b"QFI\xfb", b"<!doctype html><html>", b" "])
def test_only_pages_of_its_own_are_overwritten(tmp_path: Path, content: bytes) -> None:
    other = tmp_path / "other.html"
    other.write_bytes(content)
    done = run("report", SOUND, "-o", other)
    assert done.returncode == 256 - 17
    assert "will not be overwritten" in done.stderr
    assert other.read_bytes() == content


def test_the_image_itself_is_no_page(tmp_path: Path) -> None:
    image = tmp_path / "disk.qcow2"
    shutil.copyfile(SOUND, image)
    before = image.read_bytes()
    assert run("report", image, "-o", image).returncode == 256 - 17
    assert image.read_bytes() == before


def test_what_is_no_file_is_neither_waited_for_nor_replaced(tmp_path: Path) -> None:
    pipe = tmp_path / "pipe.html"
    os.mkfifo(pipe)
    assert run("report", SOUND, "-o", pipe).returncode == 256 - errno.EEXIST
    assert pipe.is_fifo()
    done = run("report", SOUND, "-o", "-")
    assert (done.returncode, done.stdout) == (256 - errno.EINVAL, "")
    assert "not to standard output" in done.stderr
    done = run("report", SOUND, "-o", f"{tmp_path}/none/")
    assert done.returncode == 256 - errno.EISDIR
    assert list(tmp_path.iterdir()) == [pipe]


def test_what_cannot_be_written_is_an_error_and_leaves_nothing(tmp_path: Path) -> None:
    done = run("report", SOUND, "-o", tmp_path / "none" / "report.html")
    assert done.returncode == 254
    assert done.stderr.count("\n") == 1
    done = run("report", SOUND, "-o", tmp_path)
    assert done.returncode == 256 - 21
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("report", SOUND), "-o FILE"),
        (("report", "-o", "x.html"), "IMAGE is missing"),
        (("report", SOUND, "-o", ""), "is empty"),
    ],
)
def test_what_makes_no_sense_is_refused(words: tuple[str, ...], said: str) -> None:
    done = run(*words)
    assert done.returncode == 234
    assert said in done.stderr


def test_without_the_engine_it_says_what_to_install(tmp_path: Path) -> None:
    (tmp_path / "jinja2.py").write_text("raise ImportError\n", encoding="utf-8")
    page = tmp_path / "report.html"
    path = f"{Path('src').resolve()}:{tmp_path}"
    done = run("report", SOUND, "-o", page, PYTHONPATH=f"{tmp_path}:{path}")
    assert done.returncode == 256 - 65
    assert "pip install 'qcow2-dump[report]'" in done.stderr
    assert not page.exists()
