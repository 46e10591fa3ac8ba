"""The one stream that a run over an image yields, and that every renderer eats.

A run yields `ImageOpened`, then `Progress` and `FindingSeen` in any order, then `ImageChecked`;
or `ImageFailed` at any point, which ends it.
"""

from dataclasses import dataclass

from qcow2_dump.checks.findings import Finding
from qcow2_dump.checks.result import CheckResult
from qcow2_dump.image.image import Image

__all__ = ["Event", "FindingSeen", "ImageChecked", "ImageFailed", "ImageOpened", "Progress"]


@dataclass(frozen=True, slots=True)
class ImageOpened:
    """An image was opened and its header read."""

    name: str
    image: Image


@dataclass(frozen=True, slots=True)
class Progress:
    """How far a stage has come, in bytes of metadata read out of those to read."""

    stage: str
    done: int
    total: int


@dataclass(frozen=True, slots=True)
class FindingSeen:
    """A finding, as it is made. The result's own list may know more of it (claimants, triage)."""

    finding: Finding


@dataclass(frozen=True, slots=True)
class ImageChecked:
    """The end of a check: what it found, and the time that it took in seconds."""

    name: str
    result: CheckResult
    seconds: float


@dataclass(frozen=True, slots=True)
class ImageFailed:
    """The run over this image failed: why, in one line, and the errno."""

    name: str
    reason: str
    errno: int


Event = ImageOpened | Progress | FindingSeen | ImageChecked | ImageFailed
