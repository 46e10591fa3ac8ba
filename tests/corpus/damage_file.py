"""Damage to the header and to the file as a whole."""

from __future__ import annotations

import random

from tests.corpus.damage import Register, outside
from tests.corpus.imagefile import ImageFile
from tests.corpus.layout import Layout

damage = Register()


@damage("header-field", "a header field with another value")
def _field(image: ImageFile, layout: Layout, rng: random.Random) -> bool:
    size = layout.cluster_size
    offset, width, values = rng.choice(
        (
            (0, 4, (0, 0x514649FA)),
            (4, 4, (0, 1, 2, 3, 4)),
            (8, 8, (8, 200, size, size + 1, 1 << 63)),
            (16, 4, (0, 1023, 1024)),
            (20, 4, (0, 8, 9, layout.cluster_bits + 1, layout.cluster_bits - 1, 22)),
            (24, 8, (0, layout.size // 2, layout.size + 512, layout.size * 64, 1 << 63)),
            (32, 4, (0, 1, 2, 3)),
            (60, 4, (0, 1, 3, 65537)),
            (64, 8, (layout.l1_offset, 8, 1 << 63)),
        )
    )
    image.put(offset, rng.choice(values), width)
    return True


@damage("header-v3", "a header field of version 3 with another value", "v3")
def _field_v3(image: ImageFile, layout: Layout, rng: random.Random) -> bool:
    offset, width, values = rng.choice(
        (
            (72, 8, (layout.incompatible ^ (1 << bit) for bit in (0, 1, 2, 3, 4, 5, 63))),
            (80, 8, (0, 1, 1 << 40)),
            (88, 8, (0, 1, 2, 3, 4, 1 << 40)),
            (96, 4, (0, 3, 4, 5, 6, 7)),
            (100, 4, (0, 72, 103, 104, 105, 112, 120, layout.cluster_size, 1 << 20)),
            (104, 1, (0, 1, 2, 255)),
            (105, 1, (1,)),
        )
    )
    image.put(offset, rng.choice(list(values)), width)
    return True


@damage("header-l1", "the header names another place or length of the L1 table")
def _l1(image: ImageFile, layout: Layout, rng: random.Random) -> bool:
    if rng.random() < 0.6:
        tables = [offset for offset in layout.metadata if offset != layout.l1_offset]
        unaligned = layout.l1_offset + rng.choice((8, 256))
        image.put(40, rng.choice((rng.choice(tables), outside(rng, layout), unaligned, 0)))
    else:
        size = layout.l1_size
        image.put(36, rng.choice((0, size - 1, size + 1, size + 3, size + 70, 1 << 23)), 4)
    return True


@damage("header-extension", "a header extension with another type or length", "v3")
def _extension(image: ImageFile, layout: Layout, rng: random.Random) -> bool:
    if not layout.extensions:
        # Small clusters leave no room for the feature table: the end marker is what can suffer.
        image.put(layout.header_length + rng.choice((0, 4)), rng.choice((8, 1 << 31)), 4)
        return True
    victim = rng.choice(layout.extensions)
    kinds = [extension.type for extension in layout.extensions]
    offset, value = rng.choice(
        (
            (0, 0),
            (0, 0x12345678),
            (0, rng.choice((0xE2792ACA, 0x23852875, 0x0537BE77, 0x44415441, *kinds))),
            (4, 0),
            (4, victim.length + 8),
            (4, max(0, victim.length - 8)),
            (4, 1 << 20),
        )
    )
    image.put(victim.offset + offset, value, 4)
    return True


@damage("header-noise", "a few bytes of the header overwritten with noise")
def _noise(image: ImageFile, layout: Layout, rng: random.Random) -> bool:
    start = rng.randrange(4, 104)
    image.write(start, rng.randbytes(rng.randint(1, 8)))
    return True


@damage("truncated-data", "the last part of the file cut off")
def _cut(image: ImageFile, layout: Layout, rng: random.Random) -> bool:
    size = layout.cluster_size
    lost = rng.choice(
        (1, 511, 512, size // 2, size, size + 1, rng.randint(1, layout.clusters) * size)
    )
    image.truncate(max(0, layout.length - lost))
    return True


@damage("truncated-table", "the file cut in, before or just behind a table")
def _cut_table(image: ImageFile, layout: Layout, rng: random.Random) -> bool:
    place = rng.choice(layout.metadata)
    step = rng.choice((0, 0, 1, 512, layout.cluster_size // 2, layout.cluster_size))
    image.truncate(min(place + step, layout.length - 1))
    return True


@damage("truncated-header", "only part of the header left, or nothing")
def _cut_header(image: ImageFile, layout: Layout, rng: random.Random) -> bool:
    image.truncate(rng.choice((0, 4, 71, 72, 103, 112, 512)))
    return True


@damage("extended-file", "bytes appended to the file: zeros or a hole")
def _appended(image: ImageFile, layout: Layout, rng: random.Random) -> bool:
    extra = rng.choice((1, 512, layout.cluster_size, 3 * layout.cluster_size + 5, 1 << 24))
    image.truncate(layout.length + extra)
    if rng.random() < 0.5:
        # The count of a cluster in the new part makes it a leak.
        layout.set_refcount(image, layout.clusters, 1)
    return True


@damage("sector-noise", "a sector of some table overwritten with noise, as by a stray write")
def _sector_noise(image: ImageFile, layout: Layout, rng: random.Random) -> bool:
    place = rng.choice(layout.metadata) + rng.randrange(layout.cluster_size // 512) * 512
    image.write(min(place, layout.length - 1) // 512 * 512, rng.randbytes(512))
    return True


@damage("table-zeroed", "a whole cluster of tables lost to zeros, as by a lost write")
def _table_zeroed(image: ImageFile, layout: Layout, rng: random.Random) -> bool:
    image.write(rng.choice(layout.metadata), bytes(layout.cluster_size))
    return True


@damage("tables-swapped", "two clusters of tables exchanged")
def _swapped(image: ImageFile, layout: Layout, rng: random.Random) -> bool:
    first, second = rng.sample(layout.metadata, 2)
    size = layout.cluster_size
    one, other = image.read(first, size), image.read(second, size)
    image.write(first, other)
    image.write(second, one)
    return True


@damage("wild-pointer", "a random aligned word of some table replaced")
def _wild(image: ImageFile, layout: Layout, rng: random.Random) -> bool:
    place = rng.choice(layout.metadata)
    used = [i for i, word in enumerate(image.words(place, layout.cluster_size // 8)) if word]
    if not used:
        used = [0]
    value = rng.randrange(2 * layout.clusters) * layout.cluster_size
    image.put(place + 8 * rng.choice(used), value | rng.choice((0, 1 << 63)))
    return True
