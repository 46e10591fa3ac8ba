"""What a command line asks for, as one value: the faces make it, and only `dispatch` acts on it."""

from typing import TYPE_CHECKING, NamedTuple, TypeAlias

from qcow2_dump.cli.pages import Page
from qcow2_dump.operations.requests import ALL_TREES, DumpWhat

if TYPE_CHECKING:  # what only reads is not kept waiting for what writes
    from qcow2_dump.operations.requests import (
        CheckRequest,
        DumpRequest,
        DuRequest,
        InfoRequest,
        LocateRequest,
        MapRequest,
        PictureRequest,
        ReportRequest,
    )
    from qcow2_dump.operations.write_requests import WriteRequest

    Request: TypeAlias = (
        CheckRequest
        | InfoRequest
        | DumpRequest
        | MapRequest
        | PictureRequest
        | DuRequest
        | LocateRequest
        | ReportRequest
        | WriteRequest
        | "ExplainRequest"
        | "CompletionRequest"
        | "HeaderFieldsRequest"
        | "HelpRequest"
        | "VersionRequest"
    )

__all__ = [
    "Asked",
    "ClassicView",
    "CompletionRequest",
    "ExplainRequest",
    "HeaderFieldsRequest",
    "HelpRequest",
    "VersionRequest",
]


class HelpRequest(NamedTuple):
    """A page to print."""

    page: Page


class VersionRequest(NamedTuple):
    """The version of the program."""


class HeaderFieldsRequest(NamedTuple):
    """The names, offsets and widths of the header's fields."""


class ExplainRequest(NamedTuple):
    """What a finding means; without a ``code``, all codes there are."""

    code: str | None


class CompletionRequest(NamedTuple):
    """The completion script for a shell."""

    shell: str


class ClassicView(NamedTuple):
    """What the classic report shows; it decides nothing about what is found.

    ``what`` is the half of the metadata and ``snapshot`` selects the trees, as in `DumpRequest`;
    ``owners`` False leaves out the COPIED flags and the clusters with several owners.
    """

    what: DumpWhat = "all"
    snapshot: str = ALL_TREES
    prealloc: bool = False
    owners: bool = True


class Asked(NamedTuple):
    """A request and how its answer is shown. ``classic`` is None for the subcommands."""

    request: "Request"
    json: bool = False
    csv: bool = False
    color: str = "auto"
    details: bool = False
    classic: ClassicView | None = None
