"""Another backing file name in the header (format section 1.4); no guest data is moved.

The new name goes where nothing is, behind the extensions; then one write of the header switches
its place and length, so that there is always either the old name or the new one.
"""

import errno
import os
import re

from qcow2_dump.errors import RequestError, SourceError, UnsafePlanError
from qcow2_dump.image.chain import ChainLink, open_chain
from qcow2_dump.image.image import Image
from qcow2_dump.image.probing import probe_format
from qcow2_dump.image.shown_names import shown
from qcow2_dump.ondisk.constants import (
    MAX_BACKING_NAME,
    SECTOR_SIZE,
    AutoclearFeature,
)
from qcow2_dump.ondisk.header import FIELD_OFFSETS
from qcow2_dump.plan.model import Field
from qcow2_dump.planners.draft import Draft, Stage
from qcow2_dump.planners.fields.header_fields import (
    HEADER,
    clear_unknown_autoclear,
    put_header_fields,
)
from qcow2_dump.planners.proposal import Proposal

__all__ = ["plan_rebase"]

_REASON = "backing.name"
_HEAD_LENGTH = 8
_BROKEN_LISTS = ("extension-head", "extension-length")


def plan_rebase(image: Image, backing: bytes, *, look_for_backing: bool = True) -> Proposal:
    """Write another backing file name, as the bytes that the header is to hold.

    With ``look_for_backing`` the file must exist, and is looked into as a check would. Raises
    RequestError for a name that cannot be one, or a file that cannot be below this image;
    SourceError with ENOENT when there is none; UnsafePlanError where the name does not fit, or
    the header does not say what lies where.
    """
    _refuse_name(image, backing)
    if look_for_backing:
        _refuse_missing(image, backing)
    draft = Draft(image, "rebase")
    if image.backing_file == backing and image.header.backing_file_size == len(backing):
        return Proposal(draft.build(), ["The header has this name already: nothing to do."])
    room = _room_behind_extensions(image)
    clear_unknown_autoclear(draft, image)
    _put_name(draft, backing, room)
    drafted = draft.drafted()
    same = drafted.extensions.extensions == image.extensions.extensions
    if not same or drafted.backing_file != backing or _unusable_extensions(drafted):
        raise UnsafePlanError("the header extensions would not be the same with the new name")
    notes = ["No guest data is moved: what this image does not hold is read from the new file."]
    notes += _about_new_chain(drafted) if look_for_backing else []
    return Proposal(draft.build(), notes)


def _refuse_name(image: Image, backing: bytes) -> None:
    if not 0 < len(backing) <= MAX_BACKING_NAME or b"\0" in backing:
        raise RequestError(
            f"the backing file name must have 1 to {MAX_BACKING_NAME:,} bytes, none of them zero"
        )
    header = image.header
    if header.has_data_file and AutoclearFeature.RAW_DATA_FILE in header.autoclear:
        raise RequestError(
            "the image's external data file is a raw disk by itself: it cannot have a backing file"
        )


def _refuse_missing(image: Image, backing: bytes) -> None:
    problem = image.resolver.backing_problem(image.name, backing)
    if problem is None:
        return
    message = f"the backing file {shown(backing)} {problem}"
    if problem == "is not there":
        raise SourceError(errno.ENOENT, message, image.name)
    raise RequestError(message)


def _unusable_extensions(image: Image) -> bool:
    return any(problem.rule in _BROKEN_LISTS for problem in image.extensions.problems)


def _room_behind_extensions(image: Image) -> int:
    """The file offset behind the end marker of the extensions, up to the end of the cluster."""
    header, end = image.header, image.extensions.end
    known = header.header_length == header.stored_length and not _unusable_extensions(image)
    marked = header.header_length + _HEAD_LENGTH <= end and not _ends_in_an_extension(image, end)
    if known and marked:
        return end
    raise UnsafePlanError(
        "the header extensions have no end marker, or cannot be read: there is no telling where "
        "a name can be written"
    )


def _ends_in_an_extension(image: Image, end: int) -> bool:
    """Whether the list ended with an extension, that is at the end of its area."""
    last = image.extensions.extensions[-1:]
    return any(e.offset + _HEAD_LENGTH + (len(e.data) + 7 & ~7) >= end for e in last)


def _put_name(draft: Draft, name: bytes, room: int) -> None:
    """Put the name where nothing is, else over the old one where one write can do that."""
    header = draft.image.header
    limit = header.cluster_size
    old_start, old_end = _old_name(draft.image, room)
    cluster = draft.image.header_cluster.ljust(limit, b"\0")
    gaps = [(room, old_start), (old_end, limit)]
    for start, end in gaps:
        at = cluster.find(bytes(len(name)), start, end)
        if at >= 0:
            draft.put(Stage.NEW, at, name, Field("backing_name", at, unit_bits=0), _REASON)
            values = {"backing_file_offset": at, "backing_file_size": len(name)}
            put_header_fields(draft, Stage.SWITCH, values, _REASON)
            _wipe(draft, old_start, old_end)
            return
    if _fits_one_sector(cluster, room, name, (old_start, old_end)):
        start = FIELD_OFFSETS["backing_file_offset"]
        fields = room.to_bytes(8, "big") + len(name).to_bytes(4, "big")
        between = cluster[start + len(fields) : room]
        rest = bytes(max(0, old_end - room - len(name)))
        draft.put(Stage.SWITCH, start, fields + between + name + rest, HEADER, _REASON)
        return
    free = max(_zeros(cluster, start, end) for start, end in gaps)
    raise UnsafePlanError(
        f"the backing file name has {len(name):,} bytes, the header cluster has room for "
        f"{min(free, MAX_BACKING_NAME):,} beside what it holds"
    )


def _old_name(image: Image, room: int) -> tuple[int, int]:
    """Where the old name lies behind the extensions; an empty stretch when there is none."""
    header = image.header
    start = header.backing_file_offset
    if not start:
        return room, room
    end = min(start + header.backing_file_size, header.cluster_size)
    return min(max(start, room), header.cluster_size), max(end, room)


def _wipe(draft: Draft, start: int, end: int) -> None:
    """Make the place of the old name free for the next one, once nobody reads it."""
    if end > start:
        field = Field("backing_name", start, unit_bits=0)
        draft.put(Stage.LOWER, start, bytes(end - start), field, _REASON)


def _fits_one_sector(cluster: bytes, room: int, name: bytes, old: tuple[int, int]) -> bool:
    """Whether the name can replace the old one in a sector, which a disk writes as a whole."""
    end = room + len(name)
    behind_old = max(end, old[1])
    unused = not any(cluster[room : old[0]]) and not any(cluster[old[1] : end])
    return unused and behind_old <= min(SECTOR_SIZE, len(cluster))


def _zeros(cluster: bytes, start: int, end: int) -> int:
    """How many zero bytes in a row a stretch has at most."""
    return max(map(len, re.findall(rb"\0+", cluster[start:end])), default=0)


def _about_new_chain(drafted: Image) -> list[str]:
    """What there is to say of the files that the image would then have below it."""
    notes: list[str] = []
    for link in open_chain(drafted):
        with_image = link.path is not None and _is_same_file(link.path, drafted.name)
        if link.depth == 1:
            notes += _about_format(link)
        link.close()
        if with_image:
            raise RequestError(
                f"the image itself would be backing file number {link.depth} below it"
            )
    return notes


def _is_same_file(path: str, other: str) -> bool:
    try:
        return os.path.samefile(path, other)  # noqa: PTH121 - names of any bytes
    except (OSError, ValueError):
        return False


def _about_format(link: ChainLink) -> list[str]:
    if link.source is None:
        return [f"The new backing file was not looked into: {link.problem}."]
    looks = probe_format(link.source)
    if link.probed:
        return [f"The header does not say the format of the backing file; it looks like {looks}."]
    if looks != link.format:
        said = f"The header says that the backing file is {link.format}"
        return [f"{said}, and this is not changed; it looks like {looks}."]
    return []
