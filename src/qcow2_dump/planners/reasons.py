"""Why a change is made: the codes that the steps of a plan carry, and what they mean in words."""

from dataclasses import dataclass

__all__ = ["REASONS", "Reason"]


@dataclass(frozen=True, slots=True)
class Reason:
    """``what`` is changed and why, in plain words; ``guest`` is what the guest has of it."""

    code: str
    what: str
    guest: str


_NOTHING = "The guest sees no difference."
_SAFE = "The guest sees no difference; its next writes are safe again."

_ALL = (
    Reason(
        "file.grow",
        "The file grows, because new structures are written behind its present end.",
        _NOTHING,
    ),
    Reason(
        "refcount.raise",
        "A refcount is raised to the number of references to its cluster, so that the cluster is "
        "not given out a second time.",
        _SAFE,
    ),
    Reason(
        "refcount.lower",
        "A refcount is lowered to the number of references to its cluster, so that its space can "
        "be used again.",
        "The guest sees no difference; nothing that it can reach lies there.",
    ),
    Reason(
        "refcount.block-new",
        "A refcount block is written anew, because the old one is missing, unusable, or lies "
        "where something else does.",
        _SAFE,
    ),
    Reason(
        "refcount.table-new",
        "The refcount table is written anew, because the old one is missing, unusable, or too "
        "small.",
        _SAFE,
    ),
    Reason(
        "refcount.table-entry",
        "An entry of the refcount table is pointed to the right refcount block, or cleared "
        "because it leads to none.",
        _SAFE,
    ),
    Reason(
        "refcount.table-switch",
        "The header is pointed to the new refcount table.",
        _SAFE,
    ),
    Reason(
        "copied.clear",
        "The COPIED flag of an entry is cleared, because its cluster has other users as well.",
        "The guest sees no difference; its next write makes a copy instead of changing what "
        "others use.",
    ),
    Reason(
        "copied.set",
        "The COPIED flag of an entry is set, because its cluster has no other user.",
        "The guest sees no difference; its next write saves a copy.",
    ),
    Reason(
        "l1.reserved",
        "Bits of an L1 entry that have no meaning and must be zero are cleared.",
        _NOTHING,
    ),
    Reason(
        "l1.no-offset",
        "An L1 entry that has flags but leads to no table is cleared.",
        "The guest sees no difference: the range is unallocated, as before.",
    ),
    Reason(
        "l1.dropped",
        "An L1 entry that leads to no place where a table can be is cleared, as was asked for.",
        "The guest loses what the entry mapped, which could not be read; the range reads as zeros "
        "or from the backing file.",
    ),
    Reason(
        "l2.reserved",
        "Bits of an L2 entry that have no meaning and must be zero are cleared.",
        _NOTHING,
    ),
    Reason(
        "l2.copied-no-offset",
        "The COPIED flag of an L2 entry that maps nothing is cleared.",
        _NOTHING,
    ),
    Reason(
        "l2.bit0-extended",
        "Bit 0 of an L2 entry, which means nothing with subclusters, is cleared.",
        _NOTHING,
    ),
    Reason(
        "l2.compressed-bitmap",
        "The subcluster bitmap of a compressed cluster, which must be zero, is cleared.",
        _NOTHING,
    ),
    Reason(
        "l2.compressed-copied",
        "The COPIED flag of a compressed cluster, which cannot have it, is cleared: its stream "
        "decodes, so it is the other flag that is right.",
        _NOTHING,
    ),
    Reason(
        "l2.compressed-wrong",
        "The compressed flag of an L2 entry is cleared: there is no stream that decodes, and "
        "without the flag the entry makes sense.",
        "The guest can read the cluster again.",
    ),
    Reason(
        "l2.unaligned-zero",
        "The useless offset of an L2 entry that only says that its range reads as zeros is "
        "removed.",
        "The guest can read the range again; it is zeros.",
    ),
    Reason(
        "l2.dropped",
        "An L2 entry that leads to no place where a cluster can be is cleared, as was asked for.",
        "The guest loses what the entry mapped, which could not be read; the range reads as zeros "
        "or from the backing file.",
    ),
    Reason(
        "l2.dropped-zero",
        "The impossible offset of an L2 entry that holds no data is removed.",
        "The guest loses nothing: the range still reads as it did.",
    ),
    Reason(
        "reuse.data",
        "A cluster that several owners claim is copied to a new one, so that each has its own.",
        "The guest sees no difference; its next writes change one range only.",
    ),
    Reason(
        "reuse.table",
        "An L2 table that several owners claim is copied to a new cluster, so that each has its "
        "own.",
        "The guest sees no difference; its next writes change one range only.",
    ),
    Reason(
        "reuse.entry",
        "An L2 entry is pointed to the copy that was made for it.",
        "The guest sees no difference; its next writes change one range only.",
    ),
    Reason(
        "reuse.l1-entry",
        "An L1 entry is pointed to the copy of the L2 table that was made for it.",
        "The guest sees no difference; its next writes change one range only.",
    ),
    Reason(
        "bitmap.in-use",
        "A bitmap is marked as not saved, because what it says about the disk does not hold any "
        "more.",
        "The guest sees no difference; an incremental backup with the bitmap has to begin anew.",
    ),
    Reason(
        "bitmap.all-ones",
        "An entry of a bitmap's table that points past the end of the file now says that all of "
        "its range has changed.",
        "The guest sees no difference; an incremental backup copies more, and misses nothing.",
    ),
    Reason(
        "bitmap.dropped",
        "The bitmaps are given up, as was asked for.",
        "The guest sees no difference; an incremental backup with a bitmap has to begin anew.",
    ),
    Reason(
        "header.autoclear",
        "Unknown autoclear bits are cleared, which every program has to do before it writes.",
        "The guest sees no difference; what another program keeps in the image may have to be "
        "made anew.",
    ),
    Reason(
        "header.bitmaps-bit",
        "The bit that announces bitmaps is cleared, because there are none.",
        _NOTHING,
    ),
    Reason(
        "header.dirty",
        "The dirty flag is changed.",
        "The guest sees no difference; without the flag QEMU does not repair the image by itself.",
    ),
    Reason(
        "header.corrupt",
        "The corrupt flag is changed.",
        "Without the flag QEMU opens the image for writing again.",
    ),
    Reason(
        "snapshot.table-new",
        "The snapshot table is written anew, in another place.",
        _NOTHING,
    ),
    Reason(
        "snapshot.count",
        "The number of snapshots in the header, which cannot be, is set to the number of records.",
        "The guest sees no difference; QEMU opens the image again.",
    ),
    Reason(
        "snapshot.switch",
        "The header is pointed to the new tables in one write.",
        "The guest has the disk of the chosen snapshot, or the list of snapshots changes.",
    ),
    Reason(
        "backing.name",
        "The header is given another backing file name.",
        "What this image does not hold itself is read from the new file.",
    ),
    Reason(
        "edit",
        "Bytes are changed, as was asked for.",
        "What the guest has of it depends on what these bytes are.",
    ),
    Reason(
        "copy",
        "Bytes are copied over others, as was asked for.",
        "What the guest has of it depends on what these bytes are.",
    ),
    Reason(
        "undo",
        "What a change replaced is put back.",
        "The guest has the disk as it was before that change.",
    ),
)

REASONS: dict[str, Reason] = {reason.code: reason for reason in _ALL}
"""Every reason by its code."""
