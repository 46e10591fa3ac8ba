"""What a damage is, and the victims that damages have in common."""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import dataclass

from tests.corpus.imagefile import ImageFile
from tests.corpus.layout import Kind, Layout, Mapping

Action = Callable[[ImageFile, Layout, random.Random], bool]


@dataclass(frozen=True)
class Damage:
    """One kind of damage. `needs` are the traits that a base must have for it to apply.

    `action` changes the file, whose layout was read before, and returns False when it found
    nothing to damage.
    """

    name: str
    why: str
    action: Action
    needs: frozenset[str]


class Register:
    """Collects the damages of one module."""

    def __init__(self) -> None:
        self.damages: list[Damage] = []

    def __call__(self, name: str, why: str, needs: str = "") -> Callable[[Action], Action]:
        """Decorate an action with its name, the reason for having it and the traits it needs."""

        def register(action: Action) -> Action:
            self.damages.append(Damage(name, why, action, frozenset(needs.split())))
            return action

        return register


def some(rng: random.Random, things: list[Mapping]) -> list[Mapping]:
    """One to five of them, most often one; in the order of the list."""
    count = min(len(things), rng.choice((1, 1, 1, 2, 5)))
    return [things[i] for i in sorted(rng.sample(range(len(things)), count))]


def pointing(layout: Layout) -> list[Mapping]:
    """Active L2 entries that hold a host offset, compressed ones excepted."""
    return layout.mappings(layout.active, Kind.NORMAL, Kind.ZERO_ALLOCATED)


def outside(rng: random.Random, layout: Layout) -> int:
    """A cluster-aligned offset at or beyond the end of the file: near, far or the largest."""
    size = layout.cluster_size
    end = layout.clusters * size
    return rng.choice(
        (end, end, end + size, end + rng.randrange(2, 100) * size, 1 << 40, (1 << 56) - size)
    )


def reserved_bit(rng: random.Random, bits: list[int]) -> int:
    """A word with one of these bits set, sometimes two."""
    return sum(1 << bit for bit in rng.sample(bits, rng.choice((1, 1, 2))))
