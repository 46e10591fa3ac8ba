"""Gathers what images say of themselves. What is damaged costs only itself, and is told."""

import errno
import os
import stat
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, TypeVar

from qcow2_dump.errors import FormatError, NotQcow2Error, Qcow2Error, SourceError
from qcow2_dump.image.backing_names import full_backing_name, plain_backing_path
from qcow2_dump.image.image import Image, open_image
from qcow2_dump.image.info import (
    BackingFacts,
    ChainFacts,
    DataFileFacts,
    EncryptionFacts,
    FeatureFacts,
    FileFacts,
    ImageInfo,
    InfoFailure,
    Presence,
    Problem,
)
from qcow2_dump.image.preallocation import Preallocation, preallocation
from qcow2_dump.ondisk.constants import MAX_READABLE_OFFSET, AutoclearFeature, CryptMethod
from qcow2_dump.ondisk.feature_bits import KNOWN_FEATURES
from qcow2_dump.ondisk.header import HEADER_FIELDS, UNKNOWN_OFFSET, HeaderField
from qcow2_dump.ondisk.header_rules import broken_header_rules
from qcow2_dump.operations.requests import InfoRequest
from qcow2_dump.storage.base import ByteSource
from qcow2_dump.storage.file import FileSource
from qcow2_dump.storage.mounts import file_system

if TYPE_CHECKING:  # imported when an image has such tables
    from qcow2_dump.image.tables import BitmapItem, SnapshotEntry

__all__ = ["gather_info", "read_infos"]

_T = TypeVar("_T")
_NOT_LOOKED_AT = Preallocation(None, "its tables were not looked at")
_SNAPSHOT_FIELDS = frozenset({"nb_snapshots", "snapshots_offset"})


def read_infos(request: InfoRequest) -> Iterator[ImageInfo | InfoFailure]:
    """What each image of a request says of itself, one after the other.

    Backing files are opened only if the request asks for the chain.
    """
    for name in request.images:
        try:
            with open_image(name, any_feature=True, lock=request.lock) as image:
                info = gather_info(image, look=request.look_for_backing)
                if request.chain:
                    info = info._replace(chain=tuple(_chain(image, request)))
            yield info
        except (Qcow2Error, OSError) as error:
            reason = error.strerror if isinstance(error, OSError) else None
            fields = _stored_fields(name) if _has_fields(error) else ()
            yield InfoFailure(name, reason or str(error), error.errno or errno.EIO, fields)
        except MemoryError:
            yield InfoFailure(name, "not enough memory", errno.ENOMEM)


def gather_info(image: Image, *, look: bool = True, tables: bool = True) -> ImageInfo:
    """What an opened image says of itself; a part that cannot be read becomes a `Problem`.

    ``look`` says whether the system is asked if the backing and data files exist; none is
    opened. ``tables`` says whether L2 tables are read to tell the preallocation mode, which is
    slow without numpy. Raises nothing for damage.
    """
    gatherer = _Gatherer(image)
    file = _file_facts(image.source)
    return ImageInfo(
        file=file,
        header=image.header,
        extensions=image.extensions.extensions,
        features=_features(image),
        # The order of these is that in which problems are told.
        snapshots=gatherer.snapshots(),
        bitmaps_extension=image.extensions.bitmaps,
        bitmaps_valid=image.bitmaps_valid,
        bitmaps=gatherer.bitmaps(),
        encryption=gatherer.encryption(),
        backing=_backing(image, look),
        data_file=_data_file(image, look),
        preallocation=_preallocation(image, file.allocated) if tables else _NOT_LOOKED_AT,
        problems=tuple(gatherer.problems),
    )


class _Gatherer:
    """Reads the parts that can be damaged, and keeps what is wrong with them."""

    def __init__(self, image: Image) -> None:
        self._image = image
        header = image.header
        self.problems: list[Problem] = []
        if image.unknown_features is not None:
            self._note("header", image.unknown_features + "; what is shown may mean something else")
        self.problems += [
            Problem("snapshot table" if rule.field in _SNAPSHOT_FIELDS else "header", rule.message)
            for rule in broken_header_rules(header)
        ]
        self.problems += [
            Problem("header extensions", rule.message) for rule in image.extensions.problems
        ]

    def snapshots(self) -> "tuple[SnapshotEntry, ...]":
        """The snapshot records that lie inside the file, and could be read."""
        if not self._image.header.nb_snapshots:
            return ()
        from qcow2_dump.ondisk.snapshots import snapshot_record_rules

        part = "snapshot table"
        table = self._read(part, lambda: self._image.snapshot_table)
        if table is None:
            return ()
        size = self._image.source.size
        inside = tuple(entry for entry in table.entries if entry.offset < size)
        lost = self._image.header.nb_snapshots - len(inside)
        if lost:
            self._note(part, f"{lost} of {self._image.header.nb_snapshots} records are not there")
        for entry in inside:
            who = f"snapshot[{entry.position}]"
            if entry.offset + entry.record.length > size:
                self._note(who, "its record is cut off by the end of the file")
            for rule in snapshot_record_rules(entry.record, self._image.header):
                self._note(who, rule.message)
        return inside

    def bitmaps(self) -> "tuple[BitmapItem, ...]":
        """The bitmap directory entries that could be read, whether the header vouches or not."""
        image = self._image
        directory = self._read("bitmap directory", lambda: image.bitmap_directory)
        if directory is None:
            return ()
        if not image.bitmaps_valid:
            self._note("bitmap directory", "out of date: autoclear bit 0 does not vouch for it")
            return directory.entries
        from qcow2_dump.ondisk.bitmaps import bitmap_entry_rules, bitmap_extension_rules

        for rule in bitmap_extension_rules(directory.extension, image.geometry):
            self._note("bitmap directory", rule.message)
        if directory.problem is not None:
            self._note("bitmap directory", directory.problem)
        for item in directory.entries:
            for rule in bitmap_entry_rules(item.entry, image.geometry, image.header.size):
                self._note(f"bitmap[{item.position}]", rule.message)
        return directory.entries

    def encryption(self) -> EncryptionFacts | None:
        """The method, and what the LUKS header says."""
        region = self._image.extensions.crypto
        method = self._image.header.crypt_method
        if method != CryptMethod.LUKS or region is None:
            return EncryptionFacts(method) if method else None
        from qcow2_dump.ondisk.luks import LUKS_HEADER_LENGTH, unpack_luks

        facts = EncryptionFacts(method, region.offset, region.length)
        if region.offset > MAX_READABLE_OFFSET - LUKS_HEADER_LENGTH:
            self._note("LUKS header", f"at {region.offset:#x}, where nothing can be read")
            return facts
        source = self._image.source
        data = self._read("LUKS header", lambda: source.read(region.offset, LUKS_HEADER_LENGTH))
        if data is None:
            return facts
        try:
            return facts._replace(luks=unpack_luks(data))
        except FormatError as error:
            self._note("LUKS header", str(error))
            return facts

    def _read(self, part: str, read: Callable[[], _T]) -> _T | None:
        """What ``read`` gives, None and a problem when the system cannot read it."""
        try:
            return read()
        except SourceError as error:
            self._note(part, str(error))
            return None

    def _note(self, part: str, message: str) -> None:
        self.problems.append(Problem(part, message))


def _preallocation(image: Image, bytes_on_disk: int | None) -> Preallocation:
    if image.unknown_features is not None:
        return Preallocation(None, "an unknown feature may change what its tables mean")
    return preallocation(image, bytes_on_disk)


def _file_facts(source: ByteSource) -> FileFacts:
    if not isinstance(source, FileSource):
        return FileFacts(source.name, source.size, None, None, is_device=False)
    status = os.fstat(source.fileno())
    if stat.S_ISBLK(status.st_mode):
        return FileFacts(source.name, source.size, status.st_blocks * 512, None, is_device=True)
    kind = file_system(source.name, status.st_dev)
    return FileFacts(source.name, source.size, status.st_blocks * 512, kind, is_device=False)


def _features(image: Image) -> tuple[FeatureFacts, ...]:
    """Every bit that the format or the image names, or that is set."""
    header = image.header
    if not header.is_v3:
        return ()
    words = (header.incompatible_features, header.compatible_features, header.autoclear_features)
    named: dict[tuple[int, int], list[bytes]] = {place: [] for place in KNOWN_FEATURES}
    for word, value in enumerate(words):
        for bit in range(value.bit_length()):
            if value >> bit & 1:
                named.setdefault((word, bit), [])
    for entry in image.extensions.feature_names:
        named.setdefault((entry.word, entry.bit), []).append(entry.name)
    return tuple(
        FeatureFacts(
            word,
            bit,
            is_set=word < len(words) and bool(words[word] >> bit & 1),
            known=KNOWN_FEATURES.get((word, bit)),
            names=tuple(names),
        )
        for (word, bit), names in sorted(named.items())
    )


def _backing(image: Image, look: bool) -> BackingFacts | None:
    stored = image.backing_file
    if not stored:  # QEMU takes an empty name for none
        return None
    path = plain_backing_path(image.name, stored)
    presence: Presence = "not a path"
    if path is not None:
        presence = _presence(look, path)
    full = full_backing_name(image.name, stored)
    return BackingFacts(stored, full, image.extensions.backing_format, presence)


def _data_file(image: Image, look: bool) -> DataFileFacts | None:
    stored = image.extensions.data_file
    used = image.header.has_data_file
    if stored is None and not used:
        return None
    raw = AutoclearFeature.RAW_DATA_FILE in image.header.autoclear
    presence: Presence = "not a path"
    if stored and b"\0" not in stored:
        name = os.fsdecode(stored)
        # QEMU takes the name relative to the working directory, libvirt beside the image.
        beside = os.fsdecode(full_backing_name(image.name, b"./" + stored))
        presence = _presence(look, name, name if name.startswith("/") else beside)
    return DataFileFacts(stored, raw, used, presence)


def _presence(look: bool, *paths: str) -> Presence:
    if not look:
        return "not looked for"
    # os.path asks as little as can be; pathlib is slow to import.
    return "there" if any(map(os.path.exists, paths)) else "missing"


def _chain(image: Image, request: InfoRequest) -> Iterator[ChainFacts]:
    from qcow2_dump.image.chain import open_chain

    look = request.look_for_backing
    for link in open_chain(image, lock=request.lock):
        try:
            file = None if link.source is None else _file_facts(link.source)
            info = None if link.image is None else gather_info(link.image, look=look)
        finally:
            link.close()
        yield ChainFacts(
            link.depth, link.stored, link.path, link.format, link.probed, file, info, link.problem
        )


def _has_fields(error: Exception) -> bool:
    """Whether an image that was refused at least has the magic, and so a header."""
    return isinstance(error, FormatError) and not isinstance(error, NotQcow2Error)


def _stored_fields(name: str) -> tuple[tuple[HeaderField, int], ...]:
    """The header fields as they are stored, for a person to judge; none when unreadable."""
    try:
        with FileSource(name) as source:
            data = source.read(0, UNKNOWN_OFFSET)
    except SourceError:
        return ()
    version = int.from_bytes(data[4:8], "big")
    return tuple(
        (field, int.from_bytes(data[field.offset : field.offset + field.width], "big"))
        for field in HEADER_FIELDS
        if field.since <= max(version, 2)
    )
