"""Give every region its host clusters, together with the refcount blocks that then cover them."""

import random
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from tests.builder.spec import ImageSpec, Layout


@dataclass(frozen=True)
class Region:
    """A run of whole host clusters that belongs together, known by its key.

    ``per_layer``: referred to once by each layer that maps it, instead of once.
    """

    key: str
    clusters: int
    per_layer: bool = False


@dataclass(frozen=True)
class Placement:
    """All regions, the first host cluster of each, and the first cluster behind all of them.

    ``blocks``: the refcount table indices that have a block. ``table_clusters``: the length of
    the refcount table.
    """

    regions: tuple[Region, ...]
    start: Mapping[str, int]
    end: int
    blocks: tuple[int, ...]
    table_clusters: int


def place_regions(spec: ImageSpec, regions: Sequence[Region]) -> Placement:
    """Place ``regions`` behind the header, adding "rt" and as many "rb/<index>" as they need.

    Blocks and table are added until what covers the file is covered itself; both sets only ever
    grow, so this ends.
    """
    blocks = {0, *spec.layout.refcount_blocks}
    table_clusters = max(1, spec.layout.refcount_table_clusters)
    per_table_cluster = spec.cluster_size // 8
    while True:
        refcounts = [Region("rt", table_clusters), *(Region(f"rb/{k}", 1) for k in sorted(blocks))]
        everything = [*refcounts, *regions]
        start = _assign(everything, spec.layout)
        needed = blocks | _covering_blocks(everything, start, spec.block_entries)
        table_needed = max(table_clusters, -(-(max(needed) + 1) // per_table_cluster))
        if needed == blocks and table_needed == table_clusters:
            break
        blocks, table_clusters = needed, table_needed
    unknown = spec.layout.place.keys() - start.keys()
    if unknown:
        raise ValueError(f"layout places regions that do not exist: {sorted(unknown)}")
    end = max(start[region.key] + region.clusters for region in everything)
    return Placement(tuple(everything), start, end, tuple(sorted(blocks)), table_clusters)


def _covering_blocks(regions: Iterable[Region], start: Mapping[str, int], per: int) -> set[int]:
    found: set[int] = set()
    for region in regions:
        first = start[region.key]
        found.update(range(first // per, (first + region.clusters - 1) // per + 1))
    return found


def _assign(regions: Sequence[Region], layout: Layout) -> dict[str, int]:
    pinned = [region for region in regions if region.key in layout.place]
    start = {region.key: layout.place[region.key] for region in pinned}
    taken = sorted((start[region.key], start[region.key] + region.clusters) for region in pinned)
    if any(a[1] > b[0] for a, b in zip([(0, 1), *taken], taken, strict=False)):
        raise ValueError("layout places regions over each other")
    cursor = 1
    for region in _arranged([r for r in regions if r.key not in start], layout):
        for first, end in taken:
            if cursor < end and first < cursor + region.clusters:
                cursor = end
        start[region.key] = cursor
        cursor += region.clusters + layout.gap
    return start


def _arranged(regions: list[Region], layout: Layout) -> list[Region]:
    if layout.order == "reverse":
        return regions[::-1]
    if layout.order == "shuffle":
        random.Random(layout.seed).shuffle(regions)
    return regions
