"""The external data file of an image (format section 3.4), opened only for whoever asks for it."""

import errno
import os
import stat

from qcow2_dump.errors import SourceError
from qcow2_dump.image.image import Image
from qcow2_dump.image.shown_names import shown
from qcow2_dump.storage.base import ByteSource
from qcow2_dump.storage.file import FileSource

__all__ = ["open_data_file"]


def open_data_file(image: Image) -> ByteSource | None:
    """Open the data file that an image names; None when its guest data lies in the image itself.

    As in QEMU the name is a path and never a protocol; a relative one starts at the working
    directory, or else, unlike QEMU, at the image's folder. Raises SourceError when there is no
    name, or nothing at that path that can be read as a disk.
    """
    if not image.header.has_data_file:
        return None
    stored = image.extensions.data_file
    if not stored or b"\0" in stored:
        raise SourceError(errno.EINVAL, "the image does not name its data file", image.name)
    path = stored
    if not os.path.lexists(path):
        folder = os.path.dirname(os.fsencode(image.name))  # noqa: PTH120 - names of any bytes
        path = os.path.join(folder, stored)  # noqa: PTH118
    try:
        # Asked first: opening some devices has effects of its own.
        mode = os.stat(path).st_mode  # noqa: PTH116
        if not stat.S_ISREG(mode) and not stat.S_ISBLK(mode):
            raise SourceError(errno.EINVAL, "neither a regular file nor a block device")
        return FileSource(os.fsdecode(path))
    except OSError as error:
        reason = f"data file {shown(stored)}: {error.strerror}"
        raise SourceError(error.errno or errno.EIO, reason, image.name) from error
