"""`report`: checks images and maps them, for a page about each."""

import errno
import time
from collections.abc import Iterator

from qcow2_dump.checks.maps.picture import PictureMaker
from qcow2_dump.errors import Qcow2Error
from qcow2_dump.events import (
    ImageChecked,
    ImageFailed,
    ImageOpened,
    ImagePictured,
    Progress,
    WriterSeen,
)
from qcow2_dump.image.image import open_image
from qcow2_dump.image.resolver import LookForFiles, NeverLook
from qcow2_dump.operations.checking import check
from qcow2_dump.operations.requests import ReportRequest
from qcow2_dump.operations.viewing_info import gather_info

__all__ = ["ReportEvent", "run_reports"]

ReportEvent = ImageOpened | WriterSeen | Progress | ImagePictured | ImageFailed


def run_reports(request: ReportRequest) -> Iterator[ReportEvent]:
    """Check and map the images of a request, one after the other.

    Each ends with `ImagePictured`, or `ImageFailed` when it cannot be opened or read; it is
    closed when the next event is asked for.
    """
    for name in request.images:
        try:
            yield from _report(request, name)
        except (Qcow2Error, OSError) as error:
            reason = error.strerror if isinstance(error, OSError) else None
            yield ImageFailed(name, reason or str(error), error.errno or errno.EIO)
        except MemoryError:
            yield ImageFailed(name, "not enough memory", errno.ENOMEM)


def _report(request: ReportRequest, name: str) -> Iterator[ReportEvent]:
    resolver = LookForFiles() if request.look_for_backing else NeverLook()
    with open_image(name, resolver=resolver, lock=request.lock) as image:
        # Read now: whoever shows the image must not have to expect an I/O error.
        _ = image.snapshot_table, image.bitmap_directory
        started = int(time.time())
        yield ImageOpened(name, image)
        run = check(image, deep=request.deep, max_findings=request.max_findings)
        checked: ImageChecked | None = None
        for event in run:
            if isinstance(event, ImageChecked):
                checked = event
            elif isinstance(event, WriterSeen | Progress):
                yield event
        if checked is None:
            return
        maker = PictureMaker(run.checker)
        for step in maker.run():
            yield Progress(step.stage, min(step.done, step.total), step.total)
        info = gather_info(image, look=request.look_for_backing, tables=False)
        yield ImagePictured(name, image, info, checked, maker.picture(), started)
