"""Whether somebody writes to an image while it is looked at."""

from qcow2_dump.events import WriterSeen
from qcow2_dump.image.image import Image

__all__ = ["look_for_writer"]


def look_for_writer(image: Image) -> WriterSeen | None:
    """The writer of an image: one who has it open, or has changed it since it was opened here."""
    if image.source.is_being_written():
        return WriterSeen(image.name)
    return WriterSeen(image.name, gone=True) if image.source.has_changed() else None
