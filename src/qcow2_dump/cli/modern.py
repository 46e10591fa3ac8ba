"""The subcommands: what each accepts, and which request it becomes.

Nothing heavy is imported here: `--help` and usage errors answer at once.
"""

import argparse
from collections.abc import Sequence
from typing import Any, NoReturn

from qcow2_dump.cli import exit_status
from qcow2_dump.cli.output import Output, complain
from qcow2_dump.operations.requests import DEFAULT_MAX_FINDINGS, CheckRequest
from qcow2_dump.report.commands import PLANNED

__all__ = ["COMMANDS", "UsageError", "build_parser", "check_request", "run"]

BUILT = ("check", "explain")
COMMANDS = frozenset(BUILT) | PLANNED

_CHECK_EPILOG = """\
examples:
  qcow2-dump check disk.qcow2
  qcow2-dump check --errors --statistics disk.qcow2
  qcow2-dump check --json *.qcow2 | jq .status

The exit status is the verdict: 0 good, 1 leaks, 2 COPIED flags, 3 marked corrupt,
4 refcounts too low, 5 snapshot table, 6 corrupt, 7 marked corrupt and not examined,
8 other; 128 and up: the check itself failed (256 - errno).
"""
_EXPLAIN_EPILOG = """\
examples:
  qcow2-dump explain l2.beyond-end
  qcow2-dump explain --list
  qcow2-dump explain --list --json
"""
_MAIN_EPILOG = """\
examples:
  qcow2-dump check disk.qcow2            is it sound, and if not, what is wrong?
  qcow2-dump explain refcount.leak       what does that mean?
  qcow2-dump check --help                all options of a command
"""


class UsageError(Exception):
    """The command line makes no sense; the message is what to print."""


class _Parser(argparse.ArgumentParser):
    """A parser whose errors do not end the process with a status that means a verdict."""

    def error(self, message: str) -> NoReturn:
        raise UsageError(f"{self.prog}: {message} (see {self.prog} --help)")

    def print_help(self, file: object = None) -> None:
        # That of argparse swallows the error of an output that cannot be written.
        del file
        output = Output()
        output.lines(self.format_help().splitlines())
        output.flush()


def build_parser() -> argparse.ArgumentParser:
    """The parser of all subcommands that exist."""
    parser = _Parser(
        prog="qcow2-dump",
        description="Dump, check and repair the metadata of qcow2 disk images.",
        epilog=_MAIN_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    parser.add_argument("-v", "--version", action="store_true", help="print the version and exit")
    commands = parser.add_subparsers(
        dest="command", metavar="COMMAND", title="commands", parser_class=_Parser
    )
    _add_check(commands)
    _add_explain(commands)
    return parser


def run(words: Sequence[str]) -> int:
    """Parse a command line and do what it asks for; returns the exit status.

    Raises UsageError, and whatever the command raises.
    """
    if not words:
        build_parser().print_help()
        return exit_status.USAGE
    first = words[0]
    if first in PLANNED:
        complain(f"qcow2-dump {first}: not built yet")
        return exit_status.NOT_BUILT
    if first not in BUILT and first not in ("-h", "--help", "-v", "--version"):
        raise UsageError(
            f"qcow2-dump: {first!r} is no command; there are: {', '.join(BUILT)} "
            "(see qcow2-dump --help)"
        )
    arguments = _parse(words)
    if arguments is None:
        return exit_status.OK
    if arguments.version:
        return _print_version()
    handler = _check if arguments.command == "check" else _explain
    return handler(arguments)


def check_request(arguments: argparse.Namespace) -> CheckRequest:
    """The request that a parsed `check` command line stands for."""
    return CheckRequest(
        images=tuple(arguments.images),
        deep=arguments.deep,
        max_findings=arguments.max_findings,
        errors=arguments.errors,
        statistics=arguments.statistics,
        exit_like=arguments.exit_like,
        look_for_backing=not arguments.base,
    )


def _parse(words: Sequence[str]) -> argparse.Namespace | None:
    """The parsed command line, None when it only asked for help, which was printed."""
    try:
        return build_parser().parse_args(words)
    except SystemExit:  # --help printed; argparse knows no other way to end
        return None


def _add_check(commands: Any) -> None:
    parser = commands.add_parser(
        "check",
        help="say what is wrong with images, where, and what to do about it",
        description="Check the metadata of qcow2 images. Nothing is ever written.",
        epilog=_CHECK_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    parser.add_argument("images", metavar="IMAGE", nargs="+", help="a qcow2 image")
    parser.add_argument(
        "--deep", action="store_true", help="also decompress every compressed cluster"
    )
    parser.add_argument("--errors", action="store_true", help="list each finding on its own")
    parser.add_argument("--statistics", action="store_true", help="add the tables of counts")
    parser.add_argument(
        "--max-findings",
        metavar="N",
        type=_count,
        default=DEFAULT_MAX_FINDINGS,
        help="list at most N findings of each image (default: %(default)s); all are counted",
    )
    parser.add_argument(
        "--exit-like", choices=["qemu-img"], help="return the exit statuses of that tool instead"
    )
    parser.add_argument(
        "--base", action="store_true", help="do not look whether the backing file exists"
    )
    _add_json(parser, "one JSON document per image, each on a line")
    _add_color(parser)


def _add_explain(commands: Any) -> None:
    parser = commands.add_parser(
        "explain",
        help="say what a finding means, how it comes about, and what repair does",
        description="Explain a kind of finding by its code, e.g. l2.beyond-end.",
        epilog=_EXPLAIN_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    parser.add_argument("code", metavar="CODE", nargs="?", help="the code of a finding")
    parser.add_argument("--list", action="store_true", help="list all codes")
    _add_json(parser, "a JSON array of explanations, on a line")
    _add_color(parser)


def _add_json(parser: argparse.ArgumentParser, words: str) -> None:
    parser.add_argument("--json", action="store_true", help=f"print {words}")


def _add_color(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--color",
        choices=["auto", "always", "never"],
        default="auto",
        help="colours: on a terminal (default), always, or never",
    )


def _count(text: str) -> int:
    """A number of 0 or more, decimal or hexadecimal."""
    try:
        number = int(text, 0)
    except ValueError:
        number = -1
    if number < 0:
        raise argparse.ArgumentTypeError(f"{text!r} is no number of 0 or more")
    return number


def _print_version() -> int:
    from qcow2_dump import __version__

    output = Output()
    output.lines([f"qcow2-dump {__version__}"])
    output.flush()
    return exit_status.OK


def _check(arguments: argparse.Namespace) -> int:
    from qcow2_dump.cli.check_command import check_images

    return check_images(check_request(arguments), json=arguments.json, color=arguments.color)


def _explain(arguments: argparse.Namespace) -> int:
    from qcow2_dump.cli.explain_command import explain

    if (arguments.code is None) != arguments.list:
        raise UsageError("qcow2-dump explain: name a CODE or give --list, one of the two")
    return explain(arguments.code, json=arguments.json, color=arguments.color)
