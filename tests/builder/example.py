"""One worked example: a base image, a way to damage it, and what a check must then count."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Literal

from tests.builder.built import BuiltImage
from tests.builder.std import std_image

Base = Callable[[], BuiltImage]
Damage = Callable[[BuiltImage], None]
Outcome = Literal["checked", "refused", "aborted"]

NAMES = {
    "C": "corruptions",
    "L": "leaks",
    "E": "check-errors",
    "end": "image-end-offset",
    "alloc": "allocated-clusters",
    "frag": "fragmented-clusters",
    "comp": "compressed-clusters",
}


@dataclass(frozen=True)
class Example:
    """One row: a base image, the damage, and the totals of the check.

    ``expected`` always holds corruptions, leaks and check-errors, and the statistics that the
    rules state for the row. It is empty when qemu-img prints no totals: ``outcome`` "refused"
    means that the image does not open at all, "aborted" that it opens for a check (which reads the
    snapshot table later than other opens do), but the check gives up.
    """

    id: str
    base: Base
    damage: Damage
    expected: Mapping[str, int]
    outcome: Outcome = "checked"

    @property
    def rc(self) -> int:
        """Return the exit status of ``qemu-img check``."""
        if self.outcome != "checked" or self.expected["check-errors"]:
            return 1
        if self.expected["corruptions"]:
            return 2
        return 3 if self.expected["leaks"] else 0

    def make(self) -> BuiltImage:
        """Return the damaged image."""
        image = self.base()
        self.damage(image)
        return image


# -- damage ---------------------------------------------------------------------------------------


def poke(offset: int, value: int, width: int = 8) -> Damage:
    """Store a big-endian integer at a byte offset."""
    return lambda image: image.poke(offset, value, width)


def count(cluster: int, value: int) -> Damage:
    """Set the refcount of a host cluster."""
    return lambda image: image.set_refcount(cluster, value)


def cut(length: int) -> Damage:
    """Make the file this many bytes long."""
    return lambda image: image.truncate(length)


def l1(raw: int, layer: int = 0) -> Damage:
    """Set the first L1 entry of a layer."""
    return lambda image: image.set_l1(0, raw, layer)


def l2(index: int, raw: int) -> Damage:
    """Set an entry of the first active L2 table."""
    return lambda image: image.set_l2(0, index, raw)


def l2_bits(index: int, change: Callable[[int], int]) -> Damage:
    """Change an entry of the first active L2 table."""
    return lambda i: i.set_l2(0, index, change(i.peek(i.l2_entry_offset(0, index))))


def subclusters(index: int, bitmap: int) -> Damage:
    """Set the subcluster bitmap of an entry of the first active L2 table."""
    return lambda image: image.set_subclusters(0, index, bitmap)


def record(field: int, value: int, width: int) -> Damage:
    """Set a field of the first snapshot record."""
    return lambda i: i.poke(i.places.snapshot_records[0] + field, value, width)


def bitmap_record(field: int, value: int, width: int) -> Damage:
    """Set a field of the first bitmap directory entry."""
    return lambda i: i.poke(i.places.bitmaps[0].record + field, value, width)


def bitmap_table(value: int) -> Damage:
    """Set the first table entry of the first bitmap."""
    return lambda i: i.poke(i.places.bitmaps[0].table, value)


def both(*damages: Damage) -> Damage:
    """Do one after the other."""

    def apply(image: BuiltImage) -> None:
        for damage in damages:
            damage(image)

    return apply


def nothing(image: BuiltImage) -> None:
    """Leave the image as it is: the base itself is the example."""


# -- rows ------------------------------------------------------------------------------------------


def row(name: str, damage: Damage, base: Base = std_image, **expected: int) -> Example:
    """Make a row whose unnamed counts (C, L, E) are 0."""
    totals = {NAMES[key]: 0 for key in "CLE"}
    totals |= {NAMES[key]: value for key, value in expected.items()}
    return Example(name, base, damage, totals)


def refused(name: str, damage: Damage, base: Base = std_image) -> Example:
    """Make a row that qemu-img check does not open."""
    return Example(name, base, damage, {}, "refused")


def aborted(name: str, damage: Damage, base: Base = std_image) -> Example:
    """Make a row on which qemu-img check gives up."""
    return Example(name, base, damage, {}, "aborted")
