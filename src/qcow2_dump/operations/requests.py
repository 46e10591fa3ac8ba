"""What was asked, as values: both faces of the command line meet here."""

from dataclasses import dataclass
from typing import Literal

from qcow2_dump.errors import RequestError

__all__ = ["DEFAULT_MAX_FINDINGS", "CheckRequest", "ExitLike"]

DEFAULT_MAX_FINDINGS = 1000

ExitLike = Literal["qemu-img"]
"""Whose exit statuses to return instead of our own."""


@dataclass(frozen=True, slots=True, kw_only=True)
class CheckRequest:
    """A check of some images, one after the other.

    ``deep`` also decompresses every compressed cluster. ``errors`` lists each finding,
    ``statistics`` adds the tables of counts; at most ``max_findings`` findings are kept for each
    image, while all are counted. ``look_for_backing`` False leaves alone whether the backing file
    exists. Raises RequestError for no images, or fewer than no findings.
    """

    images: tuple[str, ...]
    deep: bool = False
    max_findings: int = DEFAULT_MAX_FINDINGS
    errors: bool = False
    statistics: bool = False
    exit_like: ExitLike | None = None
    look_for_backing: bool = True

    def __post_init__(self) -> None:
        if not self.images:
            raise RequestError("no image to check")
        if self.max_findings < 0:
            raise RequestError(f"--max-findings is {self.max_findings}, must be 0 or more")
