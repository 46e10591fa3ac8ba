"""What an image says of itself as JSON: the facts of `qemu-img info`, and ours beside them."""

import errno as errno_names
import json
import time
from typing import TYPE_CHECKING

from qcow2_dump.image.info import (
    ChainFacts,
    EncryptionFacts,
    FileFacts,
    ImageInfo,
    InfoFailure,
)
from qcow2_dump.ondisk.constants import (
    SECTOR_SIZE,
    BitmapFlag,
    CryptMethod,
    IncompatibleFeature,
)
from qcow2_dump.ondisk.feature_bits import FEATURE_WORDS
from qcow2_dump.ondisk.header import HEADER_FIELDS, Header
from qcow2_dump.report.escape import plain
from qcow2_dump.report.qemu_words import compression_name

if TYPE_CHECKING:  # the types alone would cost more than the document
    from qcow2_dump.image.tables import BitmapItem, SnapshotEntry
    from qcow2_dump.ondisk.luks import LuksHeader, LuksSlot
    from qcow2_dump.report import info_document as doc

__all__ = ["failure_document", "info_document", "snapshots_document", "to_line"]

_WIDEST_GRANULARITY = 63


def to_line(
    document: "doc.InfoDocument | doc.InfoErrorDocument | doc.SnapshotsDocument",
) -> str:
    """The document as one line of JSON, without the line end; safe for any encoding."""
    return json.dumps(document, ensure_ascii=True, separators=(", ", ": "))


def info_document(info: ImageInfo) -> "doc.InfoDocument":
    """What an image says of itself, as the document of `info_document.InfoDocument`."""
    header = info.header
    name = plain(info.file.name)
    document: doc.InfoDocument = {
        "schema": "qcow2-dump.info/1",
        "image": name,
        "filename": name,
        "format": "qcow2",
        # QEMU uses only whole sectors of the disk; `header.size` is what is stored.
        "virtual-size": header.size // SECTOR_SIZE * SECTOR_SIZE,
        "cluster-size": header.cluster_size,
        "dirty-flag": IncompatibleFeature.DIRTY in header.incompatible,
        "encrypted": header.crypt_method != CryptMethod.NONE,
        "snapshots": [_snapshot(entry) for entry in info.snapshots],
        "format-specific": {"type": "qcow2", "data": _format_data(info)},
        "file": _file(info.file),
        "header": _header(header),
        "features": _features(info),
        "extensions": [
            {"type": e.type, "name": e.name, "offset": e.offset, "length": len(e.data)}
            for e in info.extensions
        ],
        "bitmaps": [_bitmap(item) for item in info.bitmaps],
        "bitmaps_valid": info.bitmaps_valid,
        "encryption": None if info.encryption is None else _encryption(info.encryption),
        "backing": _backing(info),
        "data_file": _data_file(info),
        "preallocation": {"mode": info.preallocation.mode, "reason": info.preallocation.reason},
        "problems": [{"part": p.part, "message": plain(p.message)} for p in info.problems],
        "chain": None if info.chain is None else [_link(link) for link in info.chain],
    }
    if info.file.allocated is not None:
        document["actual-size"] = info.file.allocated
    if info.backing is not None:
        document["backing-filename"] = plain(info.backing.stored)
        document["full-backing-filename"] = plain(info.backing.path)
        if info.backing.format is not None:
            document["backing-filename-format"] = plain(info.backing.format)
    return document


def failure_document(failure: InfoFailure, exit_status: int) -> "doc.InfoErrorDocument":
    """An image of which nothing more can be told than its header fields, if those."""
    fields = {field.name: value for field, value in failure.fields}
    document: doc.InfoErrorDocument = {
        "schema": "qcow2-dump.info/1",
        "image": plain(failure.name),
        "status": "error",
        "exit_status": exit_status,
        "error": plain(failure.reason),
        "header": fields or None,
    }
    if failure.errno in errno_names.errorcode:
        document["errno"] = errno_names.errorcode[failure.errno]
    return document


def _header(header: Header) -> dict[str, int]:
    return {field.name: int(getattr(header, field.name)) for field in HEADER_FIELDS}


def _format_data(info: ImageInfo) -> "doc.FormatData":
    """What qemu-img says of this format; it leaves out what version 2 cannot have."""
    header = info.header
    data: doc.FormatData = {
        "compat": "1.1" if header.is_v3 else "0.10",
        "compression-type": compression_name(header.compression_type),
        "refcount-bits": header.geometry.refcount_bits,
    }
    if header.is_v3:
        data["lazy-refcounts"] = bool(header.compatible_features & 1)
        data["corrupt"] = IncompatibleFeature.CORRUPT in header.incompatible
        data["extended-l2"] = header.extended_l2
    if info.encryption is not None and info.encryption.method <= max(CryptMethod):
        data["encrypt"] = _cipher(info.encryption)
    if info.data_file is not None:
        if info.data_file.stored is not None:
            data["data-file"] = plain(info.data_file.stored)
        if info.data_file.used:
            data["data-file-raw"] = info.data_file.raw
    if info.bitmaps and info.bitmaps_valid:
        data["bitmaps"] = [
            _qemu_bitmap(item)
            for item in info.bitmaps
            if item.entry.granularity_bits <= _WIDEST_GRANULARITY
        ]
    return data


def _cipher(encryption: EncryptionFacts) -> "doc.Cipher":
    cipher: doc.Cipher = {"format": "aes" if encryption.method == CryptMethod.AES else "luks"}
    if encryption.luks is not None:
        cipher.update(_luks(encryption.luks))
    return cipher


def _luks(luks: "LuksHeader") -> "doc.Cipher":
    cipher: doc.Cipher = {
        "format": "luks",
        "cipher-alg": plain(luks.cipher_alg),
        "cipher-mode": plain(luks.chaining),
        "ivgen-alg": plain(luks.ivgen),
        "hash-alg": plain(luks.hash_spec),
        "payload-offset": luks.payload_offset,
        "master-key-iters": luks.master_key_iterations,
        "uuid": plain(luks.uuid),
        "slots": [_slot(slot) for slot in luks.slots],
    }
    if luks.ivgen_hash:
        cipher["ivgen-hash-alg"] = plain(luks.ivgen_hash)
    return cipher


def _slot(slot: "LuksSlot") -> "doc.KeySlot":
    found: doc.KeySlot = {"active": slot.active, "key-offset": slot.key_offset}
    if slot.active:
        found["iters"] = slot.iterations
        found["stripes"] = slot.stripes
    return found


def snapshots_document(
    image: str, entries: "tuple[SnapshotEntry, ...]", unreadable: int
) -> "doc.SnapshotsDocument":
    """The snapshots of an image, of which some records cannot be read."""
    return {
        "schema": "qcow2-dump.snapshots/1",
        "image": plain(image),
        "snapshots": [_snapshot(entry) for entry in entries],
        "unreadable": unreadable,
    }


def _snapshot(entry: "SnapshotEntry") -> "doc.Snapshot":
    record = entry.record
    seconds, nanoseconds = divmod(record.vm_clock_nanoseconds, 1_000_000_000)
    snapshot: doc.Snapshot = {
        "id": plain(record.id),
        "name": plain(record.name),
        "vm-state-size": record.vm_state_size,
        "date-sec": record.date_seconds,
        "date-nsec": record.date_nanoseconds,
        "vm-clock-sec": seconds,
        "vm-clock-nsec": nanoseconds,
        "date_utc": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(record.date_seconds)),
        "position": entry.position,
        "offset": entry.offset,
        "l1_table_offset": record.l1_table_offset,
        "l1_size": record.l1_size,
        "disk_size": record.disk_size,
    }
    if record.icount is not None:
        snapshot["icount"] = record.icount
    return snapshot


def _file(file: FileFacts) -> "doc.File":
    return {
        "length": file.length,
        "allocated": file.allocated,
        "file_system": file.file_system,
        "block_device": file.is_device,
    }


def _features(info: ImageInfo) -> "list[doc.Feature]":
    return [
        {
            "word": FEATURE_WORDS[f.word] if f.word < len(FEATURE_WORDS) else f"word {f.word}",
            "bit": f.bit,
            "set": f.is_set,
            "known": f.known,
            "names": [plain(name) for name in f.names],
            "disagrees": f.disagrees,
        }
        for f in info.features
    ]


def _qemu_bitmap(item: "BitmapItem") -> "doc.QemuBitmap":
    entry = item.entry
    flags = [(BitmapFlag.IN_USE, "in-use"), (BitmapFlag.AUTO, "auto")]
    return {
        "name": plain(entry.name),
        "granularity": 1 << entry.granularity_bits,
        "flags": [word for flag, word in flags if entry.flags & flag],
    }


def _bitmap(item: "BitmapItem") -> "doc.Bitmap":
    entry = item.entry
    bits = entry.granularity_bits
    return {
        "position": item.position,
        "name": plain(entry.name),
        "offset": item.offset,
        "table_offset": entry.table_offset,
        "table_size": entry.table_size,
        "granularity": 1 << bits if bits <= _WIDEST_GRANULARITY else None,
        "granularity_bits": bits,
        "type": entry.type,
        "flags": entry.flags,
        "in_use": entry.in_use,
        "auto": bool(entry.flags & BitmapFlag.AUTO),
    }


def _encryption(facts: EncryptionFacts) -> "doc.Encryption":
    names: dict[int, doc.MethodName] = {CryptMethod.AES: "aes", CryptMethod.LUKS: "luks"}
    return {
        "method": facts.method,
        "name": names.get(facts.method, "unknown"),
        "offset": facts.offset,
        "length": facts.length,
    }


def _backing(info: ImageInfo) -> "doc.Backing | None":
    facts = info.backing
    if facts is None:
        return None
    return {
        "name": plain(facts.stored),
        "path": plain(facts.path),
        "format": None if facts.format is None else plain(facts.format),
        "presence": facts.presence,
    }


def _data_file(info: ImageInfo) -> "doc.DataFile | None":
    facts = info.data_file
    if facts is None:
        return None
    return {
        "name": None if facts.stored is None else plain(facts.stored),
        "raw": facts.raw,
        "used": facts.used,
        "presence": facts.presence,
    }


def _link(link: ChainFacts) -> "doc.Link":
    return {
        "depth": link.depth,
        "name": plain(link.stored),
        "path": None if link.path is None else plain(link.path),
        "format": link.format,
        "probed": link.probed,
        "file": None if link.file is None else _file(link.file),
        "error": None if link.problem is None else plain(link.problem),
        "info": None if link.info is None else info_document(link.info),
    }
