"""Which damage is done to which base: a fixed list, the same in every run and on every machine."""

from __future__ import annotations

import atexit
import random
import shutil
import tempfile
from collections import Counter, defaultdict
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from threading import Lock

from tests.corpus.base import Base, build, copy_beside
from tests.corpus.bases import BASES
from tests.corpus.damage import Damage
from tests.corpus.damages import DAMAGES
from tests.corpus.imagefile import ImageFile
from tests.corpus.layout import Kind, Layout

CASES_PER_DAMAGE = 20
FIXED = 200


@dataclass(frozen=True)
class Case:
    """A base, a damage and the number that seeds its random choices."""

    base: Base
    damage: Damage
    seed: int

    @property
    def name(self) -> str:
        """Unique, and fit for a file name."""
        return f"{self.base.name}+{self.damage.name}+{self.seed}"


@cache
def all_cases() -> tuple[Case, ...]:
    """Every case: each damage on `CASES_PER_DAMAGE` bases, repeated when fewer suit it.

    Bases take turns, so that each meets about as many kinds as any other that suits them.
    """
    used: Counter[str] = Counter()
    cases = []
    for damage in DAMAGES:
        fitting = [base for base in BASES if damage.needs <= base.traits]
        rng = random.Random(f"cases {damage.name}")
        rng.shuffle(fitting)
        fitting.sort(key=lambda base: used[base.name])
        for number in range(CASES_PER_DAMAGE):
            base = fitting[number % len(fitting)]
            used[base.name] += 1
            cases.append(Case(base, damage, number // len(fitting)))
    return tuple(cases)


@cache
def fixed_cases() -> tuple[Case, ...]:
    """`FIXED` of all cases: every damage, spread evenly, always on the base met least so far."""
    left = defaultdict(list)
    for case in all_cases():
        left[case.damage.name].append(case)
    used: Counter[str] = Counter()
    chosen: list[Case] = []
    while len(chosen) < FIXED:
        for cases in left.values():
            case = min(cases, key=lambda candidate: used[candidate.base.name])
            cases.remove(case)
            used[case.base.name] += 1
            chosen.append(case)
    return tuple(chosen[:FIXED])


_built: dict[str, Path] = {}
_lock = Lock()


@cache
def _root() -> Path:
    root = Path(tempfile.mkdtemp(prefix="qcow2-corpus-"))
    atexit.register(shutil.rmtree, root, ignore_errors=True)
    return root


def path_of(base: Base) -> Path:
    """The sound image of `base`, made once per process. Its sidecar files lie beside it."""
    with _lock:
        if base.name not in _built:
            _built[base.name] = build(base, _root() / base.name)
        return _built[base.name]


@cache
def layout_of(base: Base) -> Layout:
    """Where the tables of the sound image of `base` are."""
    return Layout(path_of(base))


def base_path(case: Case) -> Path:
    """The image as it was before the damage; not to be written to."""
    return path_of(case.base)


def materialize(case: Case, workdir: Path) -> Path:
    """Make the damaged image in a folder of its own below `workdir`, sidecar files included."""
    folder = workdir / case.name
    copy_beside(base_path(case).parent, folder)
    path = folder / "image.qcow2"
    with ImageFile(path) as image:
        # The damaged part must not depend on which other cases ran before.
        rng = random.Random(f"case {case.name}")
        if not case.damage.action(image, layout_of(case.base), rng):
            raise ValueError(f"{case.name}: the damage found nothing to damage")
    return path


def truth(case: Case) -> dict[int, frozenset[int]]:
    """Which guest clusters each host cluster of data held before the damage.

    Keys are host clusters; values are guest clusters of the active tree and of snapshots, more
    than one where compressed clusters share a host cluster. Empty with an external data file.
    """
    layout = layout_of(case.base)
    found: defaultdict[int, set[int]] = defaultdict(set)
    if layout.data_file:
        return {}
    for tree in layout.trees:
        for entry in layout.mappings(tree, Kind.NORMAL, Kind.ZERO_ALLOCATED):
            found[entry.target // layout.cluster_size].add(entry.guest_cluster)
        for entry in layout.mappings(tree, Kind.COMPRESSED):
            offset, length = layout.compressed_extent(entry.value)
            first = offset // layout.cluster_size
            last = (offset + length - 1) // layout.cluster_size
            for cluster in range(first, last + 1):
                found[cluster].add(entry.guest_cluster)
    return {cluster: frozenset(guests) for cluster, guests in found.items()}
