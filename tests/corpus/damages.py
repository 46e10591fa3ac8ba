"""All kinds of damage, and one that combines several."""

from __future__ import annotations

import random

from tests.corpus import damage_file, damage_mapping, damage_records, damage_refcounts
from tests.corpus.damage import Damage
from tests.corpus.imagefile import ImageFile
from tests.corpus.layout import Layout

_SINGLE: tuple[Damage, ...] = (
    *damage_mapping.damage.damages,
    *damage_refcounts.damage.damages,
    *damage_records.damage.damages,
    *damage_file.damage.damages,
)


def _several(image: ImageFile, layout: Layout, rng: random.Random) -> bool:
    candidates = [damage for damage in _SINGLE if damage.needs <= {"data"} and layout.active.l1]
    candidates = [
        damage for damage in candidates if not damage.name.startswith(("header", "trunc"))
    ]
    done = [
        damage.action(image, layout, rng) for damage in rng.sample(candidates, rng.randint(2, 4))
    ]
    return any(done)


DAMAGES: tuple[Damage, ...] = (
    *_SINGLE,
    Damage("several", "two to four kinds at once", _several, frozenset({"data"})),
)
