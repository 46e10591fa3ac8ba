"""`check` and `explain`: what is wrong, and what that means."""

from argparse import Namespace

from qcow2_dump.cli.asked import Asked, ExplainRequest
from qcow2_dump.cli.commands.shared import IMAGES, add_base, add_lock, add_shown
from qcow2_dump.cli.pages import Example
from qcow2_dump.cli.subcommand import Operand, Options, Subcommand, number, size
from qcow2_dump.cli.usage import UsageError
from qcow2_dump.operations.requests import DEFAULT_MAX_FINDINGS, CheckRequest

__all__ = ["CHECK", "EXPLAIN"]


def _check_options(options: Options) -> None:
    options.add_argument(
        "--deep", action="store_true", help="also decompress every compressed cluster"
    )
    options.add_argument("--errors", action="store_true", help="list each finding on its own")
    options.add_argument("--statistics", action="store_true", help="add the tables of counts")
    options.add_argument(
        "--max-findings",
        metavar="N",
        type=number,
        default=DEFAULT_MAX_FINDINGS,
        help="list at most N findings of each image (default: %(default)s); all are counted",
    )
    options.add_argument(
        "--memory",
        metavar="SIZE",
        type=size,
        help="take at most about so many bytes, with K, M, G or T (default: a quarter of the "
        "machine's memory); less takes longer and finds the same",
    )
    options.add_argument(
        "--exit-like", choices=["qemu-img"], help="return the exit statuses of that tool instead"
    )
    add_base(options)
    add_lock(options)
    add_shown(options, "one JSON document per image, each on a line")


def _check(arguments: Namespace) -> Asked:
    request = CheckRequest(
        images=arguments.images,
        deep=arguments.deep,
        max_findings=arguments.max_findings,
        memory=arguments.memory,
        errors=arguments.errors,
        statistics=arguments.statistics,
        exit_like=arguments.exit_like,
        look_for_backing=not arguments.base,
        lock=arguments.lock,
    )
    return Asked(request=request, json=arguments.json, color=arguments.color)


CHECK = Subcommand(
    name="check",
    purpose="Say what is wrong with qcow2 images, where, what it means for the guest, and what to "
    "do about it. Nothing is ever written.",
    operands=(IMAGES,),
    add_options=_check_options,
    ask=_check,
    notes=(
        (
            "The exit status is the verdict: 0 good, 1 leaks, 2 COPIED flags, 3 marked corrupt, "
            "4 refcounts too low, 5 snapshot table, 6 corrupt, 7 marked corrupt and not examined, "
            "8 other; 128 and up: the check itself failed (256 - errno)."
        ),
    ),
    examples=(
        Example("qcow2-dump check disk.qcow2"),
        Example("qcow2-dump check --errors --statistics disk.qcow2"),
        Example("qcow2-dump check --json *.qcow2 | jq .status"),
    ),
)


def _explain_options(options: Options) -> None:
    options.add_argument("--list", action="store_true", help="list all codes with their headlines")
    add_shown(options, "a JSON array of explanations, on a line")


def _explain(arguments: Namespace) -> Asked:
    if (arguments.code is None) != arguments.list:
        raise UsageError("name a CODE or give --list, one of the two")
    return Asked(request=ExplainRequest(arguments.code), json=arguments.json, color=arguments.color)


EXPLAIN = Subcommand(
    name="explain",
    purpose="Say what a kind of finding means, how it comes about, what it does to the guest, "
    "and what repair does about it.",
    operands=(Operand("code", "CODE", "the code of a finding", optional=True),),
    add_options=_explain_options,
    ask=_explain,
    examples=(
        Example("qcow2-dump explain l2.beyond-end"),
        Example("qcow2-dump explain --list"),
        Example("qcow2-dump explain --list --json | jq -r '.[].code'"),
    ),
)
