"""Random damage that nobody thought of: words of metadata overwritten, files cut anywhere.

The corpus holds the damages that have a name; these have only a seed.
"""

from __future__ import annotations

import random
from collections.abc import Iterator
from dataclasses import fields, is_dataclass

from tests.builder.build import build
from tests.builder.sound_specs import SOUND_SPECS

_LARGEST = 2 << 20
_HEADER_FIELDS = (8, 32, 36, 40, 48, 56, 60, 64, 72, 80, 88, 96, 100, 104)


class PokedImages:
    """Makes damaged images out of the sound ones of the builder, the same for the same seed."""

    def __init__(self) -> None:
        self._sound: dict[str, tuple[bytes, int, list[int]]] = {}
        for name, spec in SOUND_SPECS.items():
            built = build(spec)
            # Encrypted images need a key, a data file its own file: neither matters here.
            if spec.crypt_method or spec.data_file or len(built.data) > _LARGEST:
                continue
            data = built.data.to_bytes()
            size = 1 << spec.cluster_bits
            tables = sorted(
                place
                for place in set(_integers((built.places, built.active, built.snapshots)))
                if 0 < place < len(data) and place % size == 0
            )
            self._sound[name] = (data, size, tables)

    def make(self, seed: int) -> tuple[str, bytes]:
        """The name of a sound image, and what became of it."""
        rng = random.Random(f"poke {seed}")
        name = rng.choice(sorted(self._sound))
        sound, size, tables = self._sound[name]
        data = bytearray(sound)
        for _ in range(rng.choice((1, 1, 2, 3, 5))):
            place = _place(rng, size, tables)
            if place + 8 <= len(data):
                new = _value(rng, data, place, size, tables)
                data[place : place + 8] = (new % (1 << 64)).to_bytes(8, "big")
        if rng.random() < 0.1:
            del data[rng.randrange(len(data)) :]
        return name, bytes(data)


def _place(rng: random.Random, size: int, tables: list[int]) -> int:
    if not tables or rng.random() < 0.12:
        return rng.choice(_HEADER_FIELDS)
    return rng.choice(tables) + 8 * rng.choice((0, 1, 2, 3, rng.randrange(size // 8)))


def _value(rng: random.Random, data: bytearray, place: int, size: int, tables: list[int]) -> int:
    old = int.from_bytes(data[place : place + 8], "big")
    flags = rng.choice((0, 1, 1 << 63, 1 << 62))
    target = rng.choice(tables) if tables else 0
    return rng.choice(
        (
            0,
            old ^ (1 << rng.randrange(64)),
            old + rng.choice((-1, 1, 512, size, -size)),
            target | flags,
            rng.randrange(len(data) // size + 3) * size | flags,
            rng.randrange(len(data) + size) // 512 * 512 | flags,
            1 << 62 | rng.randrange(len(data) + size) | rng.getrandbits(6) << 54,
            rng.getrandbits(64),
            int.from_bytes(data[target : target + 8], "big"),
        )
    )


def _integers(value: object) -> Iterator[int]:
    """Every integer in a nest of dataclasses, dicts and sequences."""
    if isinstance(value, int):
        yield value
    elif isinstance(value, dict):
        yield from _integers(tuple(value.values()))
    elif isinstance(value, tuple | list):
        for item in value:
            yield from _integers(item)
    elif is_dataclass(value):
        yield from _integers(tuple(getattr(value, field.name) for field in fields(value)))
