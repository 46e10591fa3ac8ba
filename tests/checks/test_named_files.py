"""What is said of the files that an image names, without opening them."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

import qcow2_dump
from tests.builder.build import build
from tests.builder.spec import ImageSpec


def _codes(path: Path) -> set[str]:
    with qcow2_dump.open_image(path) as image:
        return set(qcow2_dump.check(image).result.tallies)


@pytest.fixture
def image(tmp_path: Path) -> Path:
    """An image that names ``base`` beside it, which is not there yet."""
    path = tmp_path / "image.qcow2"
    build(ImageSpec(backing_name="base", backing_format="raw")).write_to(path)
    return path


def test_nothing_there(image: Path) -> None:
    assert _codes(image) == {"backing.missing"}


def test_a_file(image: Path) -> None:
    (image.parent / "base").write_bytes(bytes(512))
    assert _codes(image) == set()


def test_a_folder(image: Path) -> None:
    (image.parent / "base").mkdir()
    assert _codes(image) == {"backing.missing"}


def test_a_pipe(image: Path) -> None:
    os.mkfifo(image.parent / "base")
    assert _codes(image) == {"backing.missing"}


def test_the_image_itself(image: Path) -> None:
    (image.parent / "base").symlink_to(image)
    assert _codes(image) == {"backing.missing"}


def test_a_file_in_the_working_directory_only(
    image: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """QEMU looks beside the image, and nowhere else."""
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    (elsewhere / "base").write_bytes(bytes(512))
    monkeypatch.chdir(elsewhere)
    assert _codes(image) == {"backing.missing"}


def test_a_negative_limit_is_no_request(image: Path) -> None:
    with (
        qcow2_dump.open_image(image) as opened,
        pytest.raises(qcow2_dump.RequestError, match="max_findings"),
    ):
        qcow2_dump.check(opened, max_findings=-1)
