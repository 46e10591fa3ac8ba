"""How a rule of the format that a structure breaks is told: as a value, never as an exception."""

from typing import NamedTuple


class BrokenRule(NamedTuple):
    """One field that breaks one rule.

    ``offset`` is the file offset of the field for the header and its extensions, and counts
    from the start of the structure for records whose place their caller knows (snapshot
    records, bitmap directory entries, the data of the bitmaps extension). ``refused`` says
    that QEMU 7.2 does not open such an image; ``open_only`` that qemu-img check opens it
    nevertheless.
    """

    rule: str
    field: str
    offset: int
    value: int
    expected: str
    message: str
    refused: bool
    open_only: bool = False
