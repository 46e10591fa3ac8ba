"""Where everything lies in a generated image, in host clusters.

::

    header | refcount table | refcount blocks | L1 tables, active first | snapshot table |
    the snapshots' own L2 tables | the active L2 tables and the data, in the spec's order
"""

from dataclasses import dataclass, field
from functools import cached_property

import numpy as np
import numpy.typing as npt

from benchmarks.permutation import Indices, Permutation
from benchmarks.spec import ImageSpec, Order

SNAPSHOT_RECORD = 80
"""Bytes of a snapshot record with 24 bytes of extra data, an ID and a name of 8 bytes each."""

_RUN = 64


@dataclass(frozen=True)
class Layout:
    """Positions and lengths in host clusters, made from a spec alone."""

    spec: ImageSpec
    own_tables: list[npt.NDArray[np.int64]] = field(init=False)
    """For each snapshot the L1 indices, ascending, of the L2 tables that it has for itself."""
    refcount_table_clusters: int = field(init=False)
    refcount_blocks: int = field(init=False)

    def __post_init__(self) -> None:
        rng = np.random.default_rng(self.spec.seed)
        tables = self.spec.l2_tables
        own = round(self.spec.own_share * tables)
        picks = [
            np.sort(rng.choice(tables, own, replace=False)).astype(np.int64)
            for _ in range(self.spec.snapshots)
        ]
        object.__setattr__(self, "own_tables", picks)
        self._settle_refcounts()

    def _settle_refcounts(self) -> None:
        """Find how many blocks count everything, themselves included."""
        blocks, table = 0, 0
        while True:
            object.__setattr__(self, "refcount_blocks", blocks)
            object.__setattr__(self, "refcount_table_clusters", table)
            needed = -(-self.total // self.spec.block_refcounts)
            if needed == blocks:
                return
            blocks, table = needed, self._clusters(needed * 8)

    def _clusters(self, size: int) -> int:
        """Clusters that hold `size` bytes."""
        return -(-size // self.spec.cluster_size)

    @property
    def refcount_block_start(self) -> int:
        return 1 + self.refcount_table_clusters

    @property
    def l1_clusters(self) -> int:
        """Clusters of each L1 table."""
        return self._clusters(self.spec.l1_entries * 8)

    def l1_start(self, tree: int) -> int:
        """Where the L1 of a tree starts: 0 is the active one, n the n-th snapshot's."""
        return self.refcount_block_start + self.refcount_blocks + tree * self.l1_clusters

    @property
    def snapshot_table_start(self) -> int:
        return self.l1_start(1 + self.spec.snapshots)

    def own_start(self, snapshot: int) -> int:
        """Where the own L2 tables of a snapshot start (0 is the first snapshot)."""
        table = self._clusters(self.spec.snapshots * SNAPSHOT_RECORD)
        before = sum(len(own) for own in self.own_tables[:snapshot])
        return self.snapshot_table_start + table + before

    @cached_property
    def body(self) -> int:
        """The first cluster after the front matter, all of which has a refcount of one."""
        return self.own_start(self.spec.snapshots)

    @property
    def total(self) -> int:
        """Clusters of the whole file."""
        body = self.own_start(self.spec.snapshots)
        return body + self.spec.l2_tables + self.spec.data_clusters

    @cached_property
    def l2_hosts(self) -> Indices:
        """Host cluster of each active L2 table, by L1 index (uint64)."""
        step = self.spec.l2_entries + 1 if self.spec.order is Order.PREALLOCATED else 1
        return np.arange(self.spec.l2_tables, dtype=np.uint64) * np.uint64(step) + np.uint64(
            self.body
        )

    def data_hosts(self, guests: Indices) -> Indices:
        """Host cluster of each guest cluster (uint64, any shape)."""
        body = np.uint64(self.body)
        if self.spec.order is Order.PREALLOCATED:
            return guests + guests // np.uint64(self.spec.l2_entries) + body + np.uint64(1)
        return self._shuffled(guests) + body + np.uint64(self.spec.l2_tables)

    def _shuffled(self, guests: Indices) -> Indices:
        if self.spec.order is Order.RANDOM:
            return self._permutation(guests)
        runs, within = np.divmod(guests, np.uint64(_RUN))
        # What does not fill a last run stays where it is.
        whole = runs < np.uint64(self.spec.data_clusters // _RUN)
        runs[whole] = self._permutation(runs[whole])
        return runs * np.uint64(_RUN) + within

    @cached_property
    def _permutation(self) -> Permutation:
        length = self.spec.data_clusters
        if self.spec.order is Order.RUNS:
            length //= _RUN
        return Permutation(max(1, length), self.spec.seed)
