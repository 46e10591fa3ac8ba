"""Damage to L1 and L2 tables: entries pointing wrong, and tables overwritten."""

from __future__ import annotations

import random

from tests.corpus.damage import Register, outside, pointing, reserved_bit, some
from tests.corpus.imagefile import ImageFile
from tests.corpus.layout import COMPRESSED, COPIED, OFFSET_MASK, Kind, Layout, Slot

damage = Register()

L1_RESERVED = [*range(9), *range(56, 63)]
L2_RESERVED = [*range(1, 9), *range(56, 62)]


def _l1_victim(layout: Layout, rng: random.Random) -> Slot:
    return rng.choice(layout.active.l1)


@damage("l1-bit-flip", "one bit of an L1 entry flipped", "data")
def _l1_bit_flip(image: ImageFile, layout: Layout, rng: random.Random) -> bool:
    slot = _l1_victim(layout, rng)
    image.put(slot.offset, slot.value ^ (1 << rng.randrange(64)))
    return True


@damage("l1-reserved", "a reserved bit set in an L1 entry", "data")
def _l1_reserved(image: ImageFile, layout: Layout, rng: random.Random) -> bool:
    slot = _l1_victim(layout, rng)
    image.put(slot.offset, slot.value | reserved_bit(rng, L1_RESERVED))
    return True


@damage("l1-unaligned", "an L2 table that starts inside a cluster", "data")
def _l1_unaligned(image: ImageFile, layout: Layout, rng: random.Random) -> bool:
    slot = _l1_victim(layout, rng)
    # With 512-byte clusters the only unaligned offsets are reserved bits.
    step = rng.randrange(512, layout.cluster_size, 512) if layout.cluster_size > 512 else 256
    image.put(slot.offset, slot.value + step)
    return True


@damage("l1-outside", "an L2 table beyond the end of the file", "data")
def _l1_outside(image: ImageFile, layout: Layout, rng: random.Random) -> bool:
    slot = _l1_victim(layout, rng)
    image.put(slot.offset, (slot.value & COPIED) | outside(rng, layout))
    return True


@damage("l1-lost", "an L1 entry zeroed, or only its offset", "data")
def _l1_lost(image: ImageFile, layout: Layout, rng: random.Random) -> bool:
    slot = _l1_victim(layout, rng)
    image.put(slot.offset, rng.choice((0, slot.value & COPIED)))
    return True


@damage("l1-duplicate", "two L1 entries with the same L2 table", "multi-l2")
def _l1_duplicate(image: ImageFile, layout: Layout, rng: random.Random) -> bool:
    first, second = rng.sample(layout.active.l1, 2)
    image.put(second.offset, first.value)
    return True


@damage("l1-to-metadata", "an L1 entry that points to another kind of table", "data")
def _l1_to_metadata(image: ImageFile, layout: Layout, rng: random.Random) -> bool:
    slot = _l1_victim(layout, rng)
    places = [offset for offset in layout.metadata if offset != slot.target]
    image.put(slot.offset, (slot.value & COPIED) | rng.choice(places))
    return True


@damage("l1-to-data", "an L1 entry that points to guest data", "data")
def _l1_to_data(image: ImageFile, layout: Layout, rng: random.Random) -> bool:
    slot = _l1_victim(layout, rng)
    target = rng.choice(layout.mappings(layout.active)).target
    image.put(slot.offset, (slot.value & COPIED) | min(target, layout.length))
    return True


@damage("l1-copied", "the COPIED flag of an L1 entry flipped", "data")
def _l1_copied(image: ImageFile, layout: Layout, rng: random.Random) -> bool:
    slot = _l1_victim(layout, rng)
    image.put(slot.offset, slot.value ^ COPIED)
    return True


@damage(
    "l1-table-overwritten", "the L1 table overwritten with zeros, noise or another table", "data"
)
def _l1_table(image: ImageFile, layout: Layout, rng: random.Random) -> bool:
    length = min(8 * layout.l1_size, layout.cluster_size, 256)
    filler = rng.choice((bytes(length), rng.randbytes(length), _other_table(image, layout, rng)))
    image.write(layout.l1_offset, filler[:length])
    return True


def _other_table(image: ImageFile, layout: Layout, rng: random.Random) -> bytes:
    return image.read(rng.choice(layout.metadata), layout.cluster_size)


@damage("l2-bit-flip", "single bits of L2 entries flipped", "data")
def _l2_bit_flip(image: ImageFile, layout: Layout, rng: random.Random) -> bool:
    for entry in some(rng, layout.mappings(layout.active)):
        image.put(entry.offset, entry.value ^ (1 << rng.randrange(64)))
    return True


@damage("l2-reserved", "reserved bits set in L2 entries, unallocated ones too", "data")
def _l2_reserved(image: ImageFile, layout: Layout, rng: random.Random) -> bool:
    for entry in some(rng, pointing(layout)):
        image.put(entry.offset, entry.value | reserved_bit(rng, L2_RESERVED))
    table = rng.choice(layout.active.l1).target
    empty = table + rng.randrange(layout.l2_entries) * layout.entry_size
    if rng.random() < 0.3:
        image.put(empty, image.get(empty) | reserved_bit(rng, L2_RESERVED))
    return bool(pointing(layout))


@damage("l2-unaligned", "data that starts inside a cluster", "data")
def _l2_unaligned(image: ImageFile, layout: Layout, rng: random.Random) -> bool:
    for entry in some(rng, pointing(layout)):
        size = layout.cluster_size
        step = rng.randrange(512, size, 512) if size > 512 else 2
        zero = 0 if layout.extended or rng.random() < 0.6 else 1
        image.put(entry.offset, (entry.value + step) | zero)
    return bool(pointing(layout))


@damage("l2-outside", "data beyond the end of the file", "data")
def _l2_outside(image: ImageFile, layout: Layout, rng: random.Random) -> bool:
    for entry in some(rng, pointing(layout)):
        image.put(entry.offset, (entry.value & ~OFFSET_MASK) | outside(rng, layout))
    return bool(pointing(layout))


@damage("l2-lost", "L2 entries zeroed, or only their offset", "data")
def _l2_lost(image: ImageFile, layout: Layout, rng: random.Random) -> bool:
    for entry in some(rng, pointing(layout)):
        image.put(entry.offset, rng.choice((0, 0, entry.value & ~OFFSET_MASK)))
    return bool(pointing(layout))


@damage("l2-duplicate", "an L2 entry stored a second time", "data")
def _l2_duplicate(image: ImageFile, layout: Layout, rng: random.Random) -> bool:
    entries = layout.mappings(layout.active, Kind.NORMAL, Kind.ZERO_ALLOCATED, Kind.COMPRESSED)
    for entry in some(rng, entries):
        place = rng.choice(layout.active.l1).target
        place += rng.randrange(layout.l2_entries) * layout.entry_size
        image.write(place, image.read(entry.offset, layout.entry_size))
    return True


@damage("l2-to-metadata", "guest data that points to a table or to the header", "data")
def _l2_to_metadata(image: ImageFile, layout: Layout, rng: random.Random) -> bool:
    for entry in some(rng, pointing(layout)):
        image.put(entry.offset, (entry.value & ~OFFSET_MASK) | rng.choice(layout.metadata))
    return bool(pointing(layout))


@damage("l2-copied", "COPIED flags of L2 entries flipped", "data")
def _l2_copied(image: ImageFile, layout: Layout, rng: random.Random) -> bool:
    for entry in some(rng, pointing(layout)):
        image.put(entry.offset, entry.value ^ COPIED)
    return bool(pointing(layout))


@damage("l2-copied-empty", "the COPIED flag on entries without an offset", "data")
def _l2_copied_empty(image: ImageFile, layout: Layout, rng: random.Random) -> bool:
    table = rng.choice(layout.active.l1).target
    used = {entry.offset for entry in layout.mappings(layout.active)}
    places = range(table, table + layout.cluster_size, layout.entry_size)
    empty = [place for place in places if place not in used]
    if not empty:
        # Every entry is used: let one lose its offset and keep the flag.
        empty = [table]
    image.put(rng.choice(empty), COPIED | rng.choice((0, 1)))
    return True


@damage(
    "l2-zero-flag",
    "bit 0 of L2 entries flipped: zero-allocated, or unused with extended L2",
    "data",
)
def _l2_zero_flag(image: ImageFile, layout: Layout, rng: random.Random) -> bool:
    for entry in some(rng, layout.mappings(layout.active)):
        image.put(entry.offset, entry.value ^ 1)
    return True


@damage("l2-compressed-flag", "bit 62 of ordinary entries set", "data")
def _l2_compressed_flag(image: ImageFile, layout: Layout, rng: random.Random) -> bool:
    for entry in some(rng, pointing(layout)):
        keep = entry.value if rng.random() < 0.5 else entry.value & ~COPIED
        image.put(entry.offset, keep | COMPRESSED)
    return bool(pointing(layout))


@damage(
    "l2-table-overwritten", "an L2 table overwritten with zeros, noise or another table", "data"
)
def _l2_table(image: ImageFile, layout: Layout, rng: random.Random) -> bool:
    size = layout.cluster_size
    start = rng.choice(layout.active.l1).target
    # Noise is kept short: each random entry is an offence of its own.
    noise = rng.randbytes(min(size, rng.choice((8, 64, 512))))
    filler = rng.choice((bytes(size), bytes(size // 2), noise, _other_table(image, layout, rng)))
    image.write(start, filler)
    return True


@damage("l2-table-shifted", "an L2 table moved by one entry, as by a lost or doubled write", "data")
def _l2_table_shifted(image: ImageFile, layout: Layout, rng: random.Random) -> bool:
    start = rng.choice(layout.active.l1).target
    width = layout.entry_size
    table = image.read(start, layout.cluster_size)
    shifted = rng.choice((table[width:] + table[:width], bytes(width) + table[:-width]))
    image.write(start, shifted)
    return True


@damage("compressed-flagged", "COPIED set on compressed entries", "compressed")
def _compressed_flagged(image: ImageFile, layout: Layout, rng: random.Random) -> bool:
    for entry in some(rng, layout.mappings(layout.active, Kind.COMPRESSED)):
        image.put(entry.offset, entry.value | COPIED)
    return True


@damage("compressed-length", "another number of sectors in compressed entries", "compressed")
def _compressed_length(image: ImageFile, layout: Layout, rng: random.Random) -> bool:
    shift = 62 - (layout.cluster_bits - 8)
    for entry in some(rng, layout.mappings(layout.active, Kind.COMPRESSED)):
        most = (1 << (62 - shift)) - 1
        sectors = rng.choice((0, most, rng.randint(0, most)))
        low = entry.value & ((1 << shift) - 1)
        image.put(entry.offset, COMPRESSED | (sectors << shift) | low)
    return True


@damage("compressed-moved", "compressed entries that point elsewhere or past the end", "compressed")
def _compressed_moved(image: ImageFile, layout: Layout, rng: random.Random) -> bool:
    shift = 62 - (layout.cluster_bits - 8)
    for entry in some(rng, layout.mappings(layout.active, Kind.COMPRESSED)):
        offset, _ = layout.compressed_extent(entry.value)
        near = offset + rng.choice((1, 511, 512, layout.cluster_size))
        place = rng.choice((near, near, rng.randrange(layout.length), layout.length, 1 << 40))
        image.put(entry.offset, (entry.value >> shift << shift) | place)
    return True


@damage("subclusters", "subcluster bitmaps that contradict themselves or their entry", "extended")
def _subclusters(image: ImageFile, layout: Layout, rng: random.Random) -> bool:
    entries = layout.mappings(layout.active)
    for entry in some(rng, entries):
        both = (1 << rng.randrange(32)) * 0x1_0000_0001
        image.put(entry.offset + 8, rng.choice((entry.bitmap | both, rng.getrandbits(64), 0)))
    table = rng.choice(layout.active.l1).target
    image.put(table + rng.randrange(layout.l2_entries) * 16 + 8, rng.choice((1, 1 << 31, 1 << 63)))
    return True


@damage("snapshot-l1-entry", "an entry of a snapshot's L1 table damaged", "snapshots")
def _snapshot_l1(image: ImageFile, layout: Layout, rng: random.Random) -> bool:
    slot = rng.choice(rng.choice(layout.trees[1:]).l1)
    wrong = (
        0,
        slot.value ^ COPIED,
        slot.value | reserved_bit(rng, L1_RESERVED),
        slot.value + 512,
        (slot.value & COPIED) | outside(rng, layout),
        (slot.value & COPIED) | rng.choice(layout.metadata),
    )
    image.put(slot.offset, rng.choice(wrong))
    return True


@damage("snapshot-l2-entry", "an entry of an L2 table that a snapshot reaches damaged", "snapshots")
def _snapshot_l2(image: ImageFile, layout: Layout, rng: random.Random) -> bool:
    entries = layout.mappings(rng.choice(layout.trees[1:]), Kind.NORMAL, Kind.ZERO_ALLOCATED)
    for entry in some(rng, entries):
        wrong = (
            0,
            entry.value ^ COPIED,
            entry.value | reserved_bit(rng, L2_RESERVED),
            entry.value ^ (1 << rng.randrange(9, 30)),
            (entry.value & ~OFFSET_MASK) | outside(rng, layout),
        )
        image.put(entry.offset, rng.choice(wrong))
    return bool(entries)
