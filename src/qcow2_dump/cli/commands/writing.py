"""Options of every subcommand that changes an image."""

from argparse import Namespace

from qcow2_dump.cli.commands.shared import add_shown
from qcow2_dump.cli.subcommand import Options, number
from qcow2_dump.operations.write_requests import DEFAULT_MAX_CHANGES, WriteOptions

__all__ = ["add_writing", "write_options"]


def add_writing(
    options: Options, undo_file: str = "write the undo file there, not beside the image"
) -> None:
    """How a change is made; ``undo_file`` says what is done with that file."""
    group = options.add_argument_group("how it is done")
    group.add_argument("--dry-run", action="store_true", help="show what would change, and stop")
    group.add_argument(
        "--max-changes",
        metavar="N",
        type=number,
        default=DEFAULT_MAX_CHANGES,
        help="show at most N changes (default: %(default)s); all are counted",
    )
    group.add_argument("--yes", action="store_true", help="do not ask before writing")
    group.add_argument("--undo-file", metavar="PATH", help=undo_file)
    group.add_argument("--no-undo", action="store_true", help="write no undo file")
    group.add_argument(
        "--force-unlocked", action="store_true", help="go on where the image cannot be locked"
    )
    add_shown(group, "the plan and what came of it as JSON")


def write_options(arguments: Namespace, *, dry_run: bool = False) -> WriteOptions:
    """How a change is made; ``dry_run`` whatever the command line says. Raises RequestError."""
    return WriteOptions(
        dry_run=arguments.dry_run or dry_run,
        max_changes=arguments.max_changes,
        yes=arguments.yes,
        undo_file=arguments.undo_file,
        undo=not arguments.no_undo,
        force_unlocked=arguments.force_unlocked,
    )
