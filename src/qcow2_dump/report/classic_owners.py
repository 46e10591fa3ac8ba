"""The classic report on who owns what: COPIED flags, clusters with several owners, layout.

These lines have no shape that scripts parse; each entry is named as in the lines that have.
"""

from collections.abc import Iterator

import numpy as np

from qcow2_dump.checks.listing.shared import SharedListed
from qcow2_dump.checks.mapping.active_layer import ClustersElsewhere, WrongCopied
from qcow2_dump.ondisk.mapping import EntryFlag
from qcow2_dump.report.columns import Decimal, Hexadecimal, Words, rendered
from qcow2_dump.report.places import Trees, claim

__all__ = ["copied_lines", "elsewhere_lines", "shared_lines"]

_COPIED = np.uint64(int(EntryFlag.COPIED))

# Owners told of one cluster; a hostile image can name a thousand.
_OWNERS = 64


def copied_lines(wrong: WrongCopied) -> Iterator[str]:
    """Entries whose COPIED flag disagrees with the refcount."""
    guests = wrong.indices.astype(np.uint64) * np.uint64(wrong.guest_step)
    guests += np.uint64(wrong.guest_start)
    is_set = ((wrong.raw & _COPIED) != 0).astype(np.uint8)
    if wrong.l1_index is None:
        lead: tuple[bytes | Decimal, ...] = (b" in L1 entry ", Decimal(wrong.indices))
    else:
        within = f", L1 entry {wrong.l1_index}".encode()
        lead = (b" in L2 entry ", Decimal(wrong.indices), within)
    yield from rendered(
        len(wrong.indices),
        b"COPIED ",
        Words(is_set, (b"missing", b"set")),
        *lead,
        b" | offset: 0x",
        Hexadecimal(wrong.hosts),
        b" | refcount: ",
        Decimal(wrong.stored),
        b" | vdisk offset: 0x",
        Hexadecimal(guests),
        b"\n",
    )


def shared_lines(shared: SharedListed, cluster_bits: int, trees: Trees) -> Iterator[str]:
    """A cluster with several owners, and a line for each of them."""
    yield (
        f"cluster[{shared.cluster}] offset: {shared.cluster << cluster_bits:#x} | "
        f"refcount: {shared.stored} | reference: {shared.references} | owners: {shared.total}\n"
    )
    for owner in shared.owners[:_OWNERS]:
        yield f"\t{claim(owner, trees)}\n"
    if shared.total > _OWNERS:
        yield f"\tand {shared.total - _OWNERS} more\n"


def elsewhere_lines(found: ClustersElsewhere, cluster_bits: int) -> Iterator[str]:
    """Data clusters that are not where preallocation would have put them."""
    guests = (found.indices.astype(np.uint64) << np.uint64(cluster_bits)) + np.uint64(
        found.guest_start
    )
    yield from rendered(
        len(found.indices),
        b"data cluster of L2 entry ",
        Decimal(found.indices),
        f", L1 entry {found.l1_index} | offset: 0x".encode(),
        Hexadecimal(found.hosts),
        b" | preallocated: 0x",
        Hexadecimal(found.expected),
        b" | vdisk offset: 0x",
        Hexadecimal(guests),
        b"\n",
    )
