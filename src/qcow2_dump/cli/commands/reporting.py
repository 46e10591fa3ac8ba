"""`report`: a page about images, to look at and to hand on."""

from argparse import Namespace

from qcow2_dump.cli.asked import Asked
from qcow2_dump.cli.commands.shared import IMAGES, add_base, add_lock
from qcow2_dump.cli.pages import Example
from qcow2_dump.cli.subcommand import Options, Subcommand, number
from qcow2_dump.cli.usage import UsageError
from qcow2_dump.operations.requests import DEFAULT_MAX_FINDINGS, ReportRequest

__all__ = ["REPORT"]


def _report_options(options: Options) -> None:
    options.add_argument(
        "-o",
        "--output",
        metavar="FILE",
        help="the page to write (.html if it has no ending); of several images, their index",
    )
    options.add_argument(
        "--deep", action="store_true", help="also decompress every compressed cluster"
    )
    options.add_argument(
        "--max-findings",
        metavar="N",
        type=number,
        default=DEFAULT_MAX_FINDINGS,
        help="list at most N findings of each image (default: %(default)s); all are counted",
    )
    add_base(options)
    add_lock(options)
    options.add_argument(
        "--color",
        metavar="WHEN",
        choices=["auto", "always", "never"],
        default="auto",
        help="colours on the terminal: auto (default), always, never",
    )


def _report(arguments: Namespace) -> Asked:
    if arguments.output is None:
        raise UsageError("name the page to write: -o FILE")
    request = ReportRequest(
        images=arguments.images,
        output=arguments.output,
        deep=arguments.deep,
        max_findings=arguments.max_findings,
        look_for_backing=not arguments.base,
        lock=arguments.lock,
    )
    return Asked(request=request, color=arguments.color)


REPORT = Subcommand(
    name="report",
    purpose="Check images and write what is known of each as a page for a browser: verdict, what "
    "to do, maps of the file and of the guest's disk, space by snapshot, findings. A page needs "
    "no network, and holds nothing of the guest's data.",
    operands=(IMAGES,),
    add_options=_report_options,
    ask=_report,
    notes=(
        (
            "Of several images, FILE is an index, the worst first; of report.html the pages are "
            "report-1.html and so on. Only pages of this program are overwritten, through links "
            "too. It takes the optional part qcow2-dump[report]. The exit status is the verdict, "
            "as that of check."
        ),
    ),
    examples=(
        Example("qcow2-dump report disk.qcow2 -o report.html"),
        Example("qcow2-dump report *.qcow2 -o report.html", "an index, and a page each"),
    ),
)
