"""Damage to snapshot records, bitmaps and the encryption header's extension."""

from __future__ import annotations

import random

from tests.corpus.damage import Register, outside
from tests.corpus.imagefile import ImageFile
from tests.corpus.layout import BITMAPS, CRYPTO, Layout

damage = Register()


@damage("snapshot-l1-offset", "a record whose L1 table is elsewhere", "snapshots")
def _l1_offset(image: ImageFile, layout: Layout, rng: random.Random) -> bool:
    record = rng.choice(layout.snapshots)
    wrong = (
        record.l1_offset + rng.choice((8, 64, 256)),
        outside(rng, layout),
        rng.choice(layout.metadata),
        layout.l1_offset,
        0x7FFF_FFFF_FFFF_F000 // layout.cluster_size * layout.cluster_size,
    )
    image.put(record.offset, rng.choice(wrong))
    return True


@damage("snapshot-l1-size", "a record whose L1 table has another length", "snapshots")
def _l1_size(image: ImageFile, layout: Layout, rng: random.Random) -> bool:
    record = rng.choice(layout.snapshots)
    size = rng.choice((0, record.l1_size + 1, record.l1_size * 3, 4194304, 4194305, 0xFFFFFFFF))
    image.put(record.offset + 8, size, 4)
    return True


@damage("snapshot-extra", "a record whose extra data has another length", "snapshots")
def _extra(image: ImageFile, layout: Layout, rng: random.Random) -> bool:
    record = rng.choice(layout.snapshots)
    image.put(record.offset + 36, rng.choice((0, 8, 15, 16, 32, 1024, 1025, 1 << 31)), 4)
    return True


@damage("snapshot-strings", "a record whose id or name has another length", "snapshots")
def _strings(image: ImageFile, layout: Layout, rng: random.Random) -> bool:
    record = rng.choice(layout.snapshots)
    image.put(record.offset + rng.choice((12, 14)), rng.choice((0, 9, 300, 65535)), 2)
    return True


@damage("snapshot-noise", "a record overwritten with zeros, noise or its neighbour", "snapshots")
def _noise(image: ImageFile, layout: Layout, rng: random.Random) -> bool:
    record = rng.choice(layout.snapshots)
    other = image.read(rng.choice(layout.snapshots).offset, 16)
    shifted = image.read(record.offset + 8, record.length)
    filler = (bytes(record.length), bytes(16), rng.randbytes(16), other + bytes(8), shifted)
    image.write(record.offset, rng.choice(filler))
    return True


@damage("snapshot-table", "the header names another place or number of records", "snapshots")
def _table(image: ImageFile, layout: Layout, rng: random.Random) -> bool:
    if rng.random() < 0.5:
        count = layout.snapshot_count
        image.put(60, rng.choice((0, count - 1, count + 1, count + 5, 65536, 65537)), 4)
    else:
        unaligned = layout.snapshots_offset + rng.choice((8, 128))
        place = rng.choice(layout.metadata)
        image.put(64, rng.choice((0, unaligned, place, outside(rng, layout), 1 << 63)))
    return True


@damage("bitmap-directory", "a field of a bitmap directory entry changed", "bitmaps")
def _directory(image: ImageFile, layout: Layout, rng: random.Random) -> bool:
    bitmap = rng.choice(layout.bitmaps)
    offset, width, values = rng.choice(
        (
            (0, 8, (0, bitmap.table_offset + 8, outside(rng, layout), layout.l1_offset)),
            (8, 4, (0, bitmap.table_entries + 1, 1 << 20, 1 << 31)),
            (12, 4, (0, 1, 1, 2, 4, 1 << 31)),
            (16, 1, (0, 2)),
            (17, 1, (8, 10, 32, 255)),
            (18, 2, (0, 4, 1024, 65535)),
            (20, 4, (8, 1 << 30)),
        )
    )
    image.put(bitmap.offset + offset, rng.choice(values), width)
    return True


@damage("bitmap-table", "an entry of a bitmap table changed", "bitmaps")
def _bitmap_table(image: ImageFile, layout: Layout, rng: random.Random) -> bool:
    bitmap = rng.choice(layout.bitmaps)
    place = bitmap.table_offset + 8 * rng.randrange(bitmap.table_entries)
    old = image.get(place)
    tables = rng.choice(layout.metadata)
    reserved = old | 1 << rng.choice((1, 8, 56, 63))
    image.put(place, rng.choice((0, 1, old | 1, reserved, old + 512, outside(rng, layout), tables)))
    if rng.random() < 0.4:
        # A bitmap in use is not loaded, so QEMU opens the image and stumbles later.
        image.put(bitmap.offset + 12, 1, 4)
    return True


@damage(
    "bitmap-overwritten", "bitmap directory or table overwritten with zeros or noise", "bitmaps"
)
def _bitmap_overwritten(image: ImageFile, layout: Layout, rng: random.Random) -> bool:
    bitmap = rng.choice(layout.bitmaps)
    place, length = rng.choice(
        ((bitmap.offset, 24), (bitmap.table_offset, 8 * bitmap.table_entries))
    )
    length = min(length, layout.cluster_size)
    image.write(place, rng.choice((bytes(length), rng.randbytes(min(length, 16)))))
    return True


@damage("bitmap-extension", "the bitmaps extension or its autoclear bit changed", "bitmaps")
def _bitmap_extension(image: ImageFile, layout: Layout, rng: random.Random) -> bool:
    extension = layout.extension(BITMAPS)
    if extension is None:
        return False
    data = extension.offset + 8
    old = image.get(data + 16)
    offset, width, value = rng.choice(
        (
            (88, 8, 0),
            (88, 8, 0),
            (data, 4, len(layout.bitmaps) + 1),
            (data, 4, 0),
            (data + 4, 4, 1),
            (data + 8, 8, image.get(data + 8) + 8),
            (data + 16, 8, old + 8),
            (data + 16, 8, rng.choice(layout.metadata)),
            (extension.offset + 4, 4, 16),
            (extension.offset, 4, 0x12345678),
        )
    )
    image.put(offset, value, width)
    return True


@damage("luks-extension", "the encryption header's place, length or extension changed", "luks")
def _luks(image: ImageFile, layout: Layout, rng: random.Random) -> bool:
    extension = layout.extension(CRYPTO)
    if extension is None:
        return False
    data = extension.offset + 8
    start, length = image.get(data), image.get(data + 8)
    size = layout.cluster_size
    offset, width, value = rng.choice(
        (
            (data + 8, 8, length + size),
            (data + 8, 8, length + 5 * size),
            (data + 8, 8, length - size),
            (data + 8, 8, length // 2),
            (data, 8, start + 512),
            (data, 8, outside(rng, layout)),
            (extension.offset + 4, 4, 24),
            (extension.offset, 4, 0x12345678),
            (32, 4, rng.choice((0, 1, 3))),
        )
    )
    image.put(offset, value, width)
    return True


@damage("luks-refcount", "counts of the encryption header's clusters changed", "luks")
def _luks_refcount(image: ImageFile, layout: Layout, rng: random.Random) -> bool:
    extension = layout.extension(CRYPTO)
    if extension is None:
        return False
    start, length = image.get(extension.offset + 8), image.get(extension.offset + 16)
    first, last = start // layout.cluster_size, (start + length - 1) // layout.cluster_size
    for cluster in (first, rng.randint(first, last), last):
        layout.set_refcount(image, cluster, rng.choice((0, 1, 2, 7)))
    # The three may all have drawn the right count.
    return layout.set_refcount(image, last, rng.choice((0, 2)))
