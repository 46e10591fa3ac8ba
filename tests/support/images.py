"""Images to read: sound ones of many geometries, and damaged ones, each made when it is needed."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from tests.builder.build import build
from tests.builder.sound_specs import SOUND_SPECS
from tests.builder.std_examples import STD_EXAMPLES
from tests.corpus.bases import BASES
from tests.corpus.cases import all_cases, fixed_cases, materialize, path_of

_FULL = os.environ.get("QCOW2_DUMP_FULL") == "1"

# Their tables are read entry by entry in plain Python.
_TOO_LARGE = 64 << 20
_MANY_SNAPSHOTS = ("5.3 too many snapshots", "5.3 table above 64 MiB")


@dataclass(frozen=True)
class Sample:
    """An image by name; ``sound`` ones have nothing wrong with them."""

    name: str
    make: Callable[[Path], Path]
    sound: bool = False


def _built() -> list[Sample]:
    return [
        Sample(
            f"built-{name}",
            lambda folder, spec=spec: build(spec).write_to(folder / "t.qcow2"),
            True,
        )
        for name, spec in SOUND_SPECS.items()
        if spec.virtual_size <= _TOO_LARGE
    ]


def _pokes() -> list[Sample]:
    return [
        Sample(example.id, lambda folder, e=example: e.make().write_to(folder / "t.qcow2"))
        for example in STD_EXAMPLES
        if example.id not in _MANY_SNAPSHOTS
    ]


def _bases() -> list[Sample]:
    return [
        Sample(f"base-{base.name}", lambda _, base=base: path_of(base), not base.unclean)
        for base in BASES
    ]


def _damaged() -> list[Sample]:
    cases = all_cases() if _FULL else fixed_cases()[::9]
    return [
        Sample(case.name, lambda folder, case=case: materialize(case, folder)) for case in cases
    ]


SAMPLES = [*_built(), *_pokes(), *_bases(), *_damaged()]
"""All of them; the corpus in part by default, in full with QCOW2_DUMP_FULL=1 in the environment."""
