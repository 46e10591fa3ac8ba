"""What a base image is, and how one is made and copied."""

from __future__ import annotations

import random
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from tests.corpus import qemu

Recipe = Callable[[Path, random.Random], None]

KIB = 1024
MIB = 1024 * KIB
GIB = 1024 * MIB


@dataclass(frozen=True)
class Base:
    """One kind of image.

    `traits` name what a damage may need: data, snapshots, bitmaps, compressed, extended, luks,
    data-file, v3, and multi-l2 for more than one active L2 table. `unclean` marks an image that
    QEMU itself left with leaks or stale refcounts.
    """

    name: str
    why: str
    recipe: Recipe
    traits: frozenset[str]
    encrypted: bool = False
    unclean: bool = False


class BaseRegister:
    """Collects the bases of one module."""

    def __init__(self) -> None:
        self.bases: list[Base] = []

    def __call__(
        self,
        name: str,
        why: str,
        traits: str = "",
        *,
        encrypted: bool = False,
        unclean: bool = False,
    ) -> Callable[[Recipe], Recipe]:
        """Register a recipe: with guest data unless `empty`, version 3 unless `v2`."""
        words = set(traits.split())
        if "empty" not in words:
            words.add("data")
        if "v2" not in words:
            words.add("v3")

        def register(recipe: Recipe) -> Recipe:
            self.bases.append(Base(name, why, recipe, frozenset(words), encrypted, unclean))
            return recipe

        return register


def plain(size: int, cluster: int, count: int, **options: str | int) -> Recipe:
    """An image of `size` bytes with `count` random requests in clusters of `cluster` bytes."""

    def recipe(path: Path, rng: random.Random) -> None:
        qemu.create(path, size, cluster_size=cluster, **options)
        qemu.io(path, qemu.churn(rng, size, cluster, count))

    return recipe


def build(chosen: Base, folder: Path) -> Path:
    """Make the base and its sidecar files in the empty `folder`; return the image's path."""
    folder.mkdir(parents=True)
    path = folder / "image.qcow2"
    chosen.recipe(path, random.Random(f"base {chosen.name}"))
    return path


def copy_beside(folder: Path, target: Path) -> None:
    """Copy the image and its sidecar files of `folder` into the new folder `target`."""
    target.mkdir(parents=True, exist_ok=True)
    for source in sorted(folder.iterdir()):
        sparse_copy(source, target / source.name)


def sparse_copy(source: Path, target: Path) -> None:
    """Copy a file, leaving holes holes."""
    qemu.run(["cp", "--sparse=always", source, target])
    shutil.copymode(source, target)
