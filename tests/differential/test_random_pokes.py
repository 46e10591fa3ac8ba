"""Our totals equal those of the real `qemu-img check` on images damaged at random."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

import qcow2_dump
from tests.differential import oracle
from tests.differential.pokes import PokedImages

_CHUNK = 25
_CHUNKS = 120 if os.environ.get("QCOW2_DUMP_FULL") == "1" else 4


@pytest.fixture(scope="module")
def images() -> PokedImages:
    return PokedImages()


@pytest.mark.parametrize("chunk", range(_CHUNKS))
def test_poked_images(images: PokedImages, chunk: int, tmp_path: Path) -> None:
    """Equal numbers where qemu-img gives any; a reason why not where it gives none."""
    wrong = []
    for seed in range(chunk * _CHUNK, (chunk + 1) * _CHUNK):
        name, data = images.make(seed)
        path = tmp_path / "image.qcow2"
        path.write_bytes(data)
        wrong += [f"seed {seed} ({name}): {words}" for words in _differences(path)]
    assert wrong == []


def _differences(path: Path) -> list[str]:
    theirs = oracle.check(path, encrypted=False).totals
    try:
        with qcow2_dump.open_image(path) as image:
            result = qcow2_dump.check(image).result
    except qcow2_dump.FormatError as error:
        return [] if theirs is None else [f"we refuse: {error}"]
    if theirs is None:
        good = (qcow2_dump.Verdict.GOOD, qcow2_dump.Verdict.LEAK)
        return [f"we call it {result.verdict.label}"] if result.verdict in good else []
    if result.refusal and "missing" not in result.refusal:
        return [f"we say that qemu-img refuses: {result.refusal}"]
    return [
        f"{key}: qemu-img {theirs[key]}, ours {ours}"
        for key in oracle.KEYS
        if theirs[key] != (ours := getattr(result.statistics, key.replace("-", "_")))
    ]
