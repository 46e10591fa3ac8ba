"""What a backing file looks like where the image above does not say its format."""

from qcow2_dump.ondisk.constants import MAGIC
from qcow2_dump.storage.base import ByteSource

__all__ = ["probe_format"]

_QCOW = MAGIC.to_bytes(4, "big")

# Offset in bytes, what stands there, and the name that QEMU gives the format.
_MARKS = (
    (0, _QCOW + (1).to_bytes(4, "big"), "qcow"),
    (0, _QCOW, "qcow2"),
    (0, b"KDMV", "vmdk"),
    (0, b"COWD", "vmdk"),
    (0, b"# Disk DescriptorFile", "vmdk"),
    (0x40, b"\x7f\x10\xda\xbe", "vdi"),
    (0, b"vhdxfile", "vhdx"),
    (0, b"conectix", "vpc"),
    (0, b"QED\0", "qed"),
    (0, b"WithoutFreeSpace", "parallels"),
    (0, b"WithouFreSpacExt", "parallels"),
    (0, b"LUKS\xba\xbe", "luks"),
)

_LENGTH = max(offset + len(mark) for offset, mark, _ in _MARKS)


def probe_format(source: ByteSource) -> str:
    """The format by the first bytes of a file, ``raw`` where they are nothing known.

    A fixed VHD has its mark at the end only and is ``raw``, to QEMU as well. Raises SourceError
    when the bytes cannot be read.
    """
    start = source.read(0, _LENGTH)
    for offset, mark, name in _MARKS:
        if start[offset : offset + len(mark)] == mark:
            return name
    return "raw"
