"""Damage to refcounts, refcount blocks and the refcount table."""

from __future__ import annotations

import random

from tests.corpus.damage import Register, outside
from tests.corpus.imagefile import ImageFile
from tests.corpus.layout import Layout, Slot

damage = Register()


def _clusters(layout: Layout, rng: random.Random) -> list[int]:
    """Some host clusters, neighbours included; tables more often than chance would have it."""
    tables = [offset // layout.cluster_size for offset in layout.metadata]
    picked = {rng.randrange(layout.clusters) for _ in range(rng.choice((1, 1, 2, 6)))}
    if rng.random() < 0.4:
        picked.add(rng.choice(tables))
    return sorted(picked)


@damage("refcount-raised", "counts higher than the references")
def _raised(image: ImageFile, layout: Layout, rng: random.Random) -> bool:
    most = (1 << layout.refcount_bits) - 1
    changed = False
    for cluster in _clusters(layout, rng):
        old = layout.refcount(image, cluster)
        value = min(most, old + rng.choice((1, 1, 2, most)))
        changed |= value != old and layout.set_refcount(image, cluster, value)
    # A one-bit count can only be raised where it is 0: take the first cluster without a user.
    return changed or layout.set_refcount(image, layout.clusters, 1)


@damage("refcount-zeroed", "counts of clusters in use set to zero")
def _zeroed(image: ImageFile, layout: Layout, rng: random.Random) -> bool:
    for cluster in _clusters(layout, rng):
        layout.set_refcount(image, cluster, 0)
    return True


@damage("refcount-lowered", "counts of shared clusters one too low", "snapshots")
def _lowered(image: ImageFile, layout: Layout, rng: random.Random) -> bool:
    shared = [c for c in range(layout.clusters) if layout.refcount(image, c) > 1]
    for cluster in rng.sample(shared, min(len(shared), rng.choice((1, 2, 6)))):
        layout.set_refcount(image, cluster, layout.refcount(image, cluster) - 1)
    return bool(shared)


@damage("refcount-random", "a few counts replaced by noise")
def _random(image: ImageFile, layout: Layout, rng: random.Random) -> bool:
    for cluster in _clusters(layout, rng):
        layout.set_refcount(image, cluster, rng.getrandbits(layout.refcount_bits))
    return True


@damage("refcount-beyond", "counts of clusters behind the end of the file")
def _beyond(image: ImageFile, layout: Layout, rng: random.Random) -> bool:
    layout.set_refcount(image, layout.clusters, 1)
    layout.set_refcount(image, layout.clusters + rng.randrange(1, 20), 1)
    if rng.random() < 0.5:
        # One byte more in the file makes the first of them count.
        image.truncate(layout.clusters * layout.cluster_size + 1)
    return True


def _block(layout: Layout, rng: random.Random) -> Slot:
    return rng.choice(layout.refcount_table)


@damage("block-zeroed", "a refcount block of zeros, or its first half")
def _block_zeroed(image: ImageFile, layout: Layout, rng: random.Random) -> bool:
    length = rng.choice((layout.cluster_size, layout.cluster_size // 2, 16))
    image.write(_block(layout, rng).value, bytes(length))
    return True


@damage("block-noise", "a refcount block overwritten with random bytes")
def _block_noise(image: ImageFile, layout: Layout, rng: random.Random) -> bool:
    start = _block(layout, rng).value
    length = rng.choice((4, 64, layout.cluster_size))
    image.write(start + rng.choice((0, 0, 8)), rng.randbytes(length)[: layout.cluster_size - 8])
    return True


@damage("block-other", "a refcount block overwritten with another table")
def _block_other(image: ImageFile, layout: Layout, rng: random.Random) -> bool:
    start = _block(layout, rng).value
    source = rng.choice([offset for offset in layout.metadata if offset != start])
    image.write(start, image.read(source, layout.cluster_size))
    return True


@damage("table-entry-lost", "a refcount table entry zeroed")
def _entry_lost(image: ImageFile, layout: Layout, rng: random.Random) -> bool:
    image.put(_block(layout, rng).offset, 0)
    return True


@damage("table-entry-reserved", "reserved bits or bit 63 set in a refcount table entry")
def _entry_reserved(image: ImageFile, layout: Layout, rng: random.Random) -> bool:
    slot = _block(layout, rng)
    image.put(slot.offset, slot.value | 1 << rng.choice((0, 3, 8, 62, 63)))
    return True


@damage("table-entry-unaligned", "a refcount block that starts inside a cluster")
def _entry_unaligned(image: ImageFile, layout: Layout, rng: random.Random) -> bool:
    slot = _block(layout, rng)
    size = layout.cluster_size
    step = rng.randrange(512, size, 512) if size > 512 else 128
    image.put(slot.offset, slot.value + step + rng.choice((0, 0, 1)))
    return True


@damage("table-entry-outside", "a refcount block beyond the end of the file")
def _entry_outside(image: ImageFile, layout: Layout, rng: random.Random) -> bool:
    image.put(_block(layout, rng).offset, outside(rng, layout))
    return True


@damage("table-entry-elsewhere", "a refcount table entry that points to something else in use")
def _entry_elsewhere(image: ImageFile, layout: Layout, rng: random.Random) -> bool:
    slot = _block(layout, rng)
    other = rng.randrange(layout.clusters) * layout.cluster_size
    tables = [offset for offset in layout.metadata if offset != slot.value]
    image.put(slot.offset, rng.choice((other, rng.choice(tables))))
    return True


@damage("table-entry-extra", "an unused refcount table entry filled in")
def _entry_extra(image: ImageFile, layout: Layout, rng: random.Random) -> bool:
    used = {slot.index for slot in layout.refcount_table}
    limit = layout.rt_clusters * layout.cluster_size // 8
    free = [index for index in range(limit) if index not in used][:200]
    if not free:
        return False
    slot = _block(layout, rng)
    inside = rng.choice(layout.metadata)
    value = rng.choice((1, 0x200, slot.value, inside, outside(rng, layout), 1 << 63))
    image.put(layout.rt_offset + 8 * rng.choice(free), value)
    return True


@damage("table-overwritten", "the refcount table overwritten with zeros, noise or another table")
def _table_overwritten(image: ImageFile, layout: Layout, rng: random.Random) -> bool:
    noise = rng.randbytes(rng.choice((8, 16, 64)))
    other = image.read(rng.choice(layout.l2_tables or layout.metadata), layout.cluster_size)
    image.write(layout.rt_offset, rng.choice((bytes(layout.cluster_size), noise, other)))
    return True


@damage("table-pointer", "the header names another place or length of the refcount table")
def _table_pointer(image: ImageFile, layout: Layout, rng: random.Random) -> bool:
    if rng.random() < 0.5:
        places = [offset for offset in layout.metadata if offset != layout.rt_offset]
        unaligned = layout.rt_offset + rng.choice((8, 64, 256))
        image.put(48, rng.choice((rng.choice(places), outside(rng, layout), unaligned, 0)))
    else:
        clusters = layout.rt_clusters
        image.put(56, rng.choice((0, clusters + 1, clusters + 2, 4096, 1 << 31)), 4)
    return True
