"""`info`, `dump`, `map` and `locate`: what is in an image, and where."""

from argparse import Namespace

from qcow2_dump.cli.asked import Asked
from qcow2_dump.cli.commands.shared import IMAGE, IMAGES, add_base, add_lock, add_shown
from qcow2_dump.cli.pages import Example
from qcow2_dump.cli.subcommand import Options, Subcommand, number
from qcow2_dump.errors import RequestError
from qcow2_dump.operations.requests import (
    ALL_TREES,
    DumpRequest,
    InfoRequest,
    LocateRequest,
    MapRequest,
    PictureRequest,
)

__all__ = ["DUMP", "INFO", "LOCATE", "MAP"]

_TREES = "SNAP is an ID, a name, or snapshot[N] with N the position in the table, from 0."


def _info_options(options: Options) -> None:
    options.add_argument(
        "--chain", action="store_true", help="also open the backing files and show them"
    )
    add_base(options)
    add_lock(options)
    add_shown(options, "one JSON document per image, each on a line")


def _info(arguments: Namespace) -> Asked:
    request = InfoRequest(
        images=arguments.images,
        chain=arguments.chain,
        look_for_backing=not arguments.base,
        lock=arguments.lock,
    )
    return Asked(request=request, json=arguments.json, color=arguments.color)


INFO = Subcommand(
    name="info",
    purpose="Show what images say of themselves: header, features, snapshots, bitmaps, sizes. "
    "Works on badly damaged images too.",
    operands=(IMAGES,),
    add_options=_info_options,
    ask=_info,
    notes=("Files that an image names are opened with --chain only.",),
    examples=(
        Example("qcow2-dump info disk.qcow2"),
        Example("qcow2-dump info --chain overlay.qcow2"),
        Example("qcow2-dump info --json disk.qcow2 | jq .snapshots"),
    ),
)


def _dump_options(options: Options) -> None:
    options.add_argument(
        "--what",
        metavar="HALF",
        choices=["tables", "refcounts", "all"],
        default="all",
        help="which half of the metadata: tables, refcounts, all (default)",
    )
    options.add_argument(
        "--snapshot",
        metavar="TREES",
        default=ALL_TREES,
        help="whose tables: active, inactive (every snapshot), all (default), or those of SNAP",
    )
    options.add_argument(
        "--format",
        metavar="FORMAT",
        choices=["text", "jsonl", "csv"],
        default="text",
        help="text (default), jsonl (an object per entry), csv (a row)",
    )
    options.add_argument(
        "--flags", action="store_true", help="add the raw entries and the names of their flags"
    )
    options.add_argument(
        "--deep", action="store_true", help="also decompress every compressed cluster"
    )
    add_base(options)
    add_lock(options)


def _dump(arguments: Namespace) -> Asked:
    request = DumpRequest(
        image=arguments.image,
        what=arguments.what,
        snapshot=arguments.snapshot,
        format=arguments.format,
        flags=arguments.flags,
        deep=arguments.deep,
        look_for_backing=not arguments.base,
        lock=arguments.lock,
    )
    return Asked(request=request)


DUMP = Subcommand(
    name="dump",
    purpose="Print every metadata entry of an image, as it is read: no matter how many there are, "
    "memory does not grow.",
    operands=(IMAGE,),
    add_options=_dump_options,
    ask=_dump,
    notes=(_TREES, "The exit status is the verdict, as that of check."),
    examples=(
        Example("qcow2-dump dump disk.qcow2 | less"),
        Example("qcow2-dump dump disk.qcow2 --what tables --snapshot monday --flags"),
        Example("qcow2-dump dump disk.qcow2 --format csv | head"),
    ),
)


def _map_options(options: Options) -> None:
    options.add_argument(
        "--snapshot", metavar="SNAP", help="map a snapshot instead of the present disk"
    )
    options.add_argument(
        "--chain", action="store_true", help="also open the backing files and map what they hold"
    )
    options.add_argument(
        "--details", action="store_true", help="also say what is compressed, and whose range it is"
    )
    options.add_argument(
        "--picture", action="store_true", help="draw the file on one screen: what lies where in it"
    )
    add_shown(options, "a JSON array with the keys and values of qemu-img map")


def _map(arguments: Namespace) -> Asked:
    if arguments.picture:
        others = ("snapshot", "chain", "details", "json")
        wrong = [f"--{name}" for name in others if getattr(arguments, name)]
        if wrong:
            raise RequestError(f"--picture shows the whole file, {wrong[0]} means nothing there")
        return Asked(request=PictureRequest(image=arguments.image), color=arguments.color)
    return Asked(
        request=MapRequest(
            image=arguments.image, snapshot=arguments.snapshot, chain=arguments.chain
        ),
        json=arguments.json,
        color=arguments.color,
        details=arguments.details,
    )


MAP = Subcommand(
    name="map",
    purpose="Show which ranges of the guest's disk lie where in the file; or draw the file.",
    operands=(IMAGE,),
    add_options=_map_options,
    ask=_map,
    notes=(_TREES, "Files that an image names are opened with --chain only."),
    examples=(
        Example("qcow2-dump map disk.qcow2"),
        Example("qcow2-dump map disk.qcow2 --snapshot monday --details"),
        Example("qcow2-dump map disk.qcow2 --picture"),
        Example("qcow2-dump map --chain --json overlay.qcow2 | jq '.[] | select(.data)'"),
    ),
)


def _locate_options(options: Options) -> None:
    options.add_argument(
        "--guest",
        metavar="OFFSET",
        type=number,
        help="show what holds this byte of the guest's disk",
    )
    options.add_argument(
        "--host", metavar="OFFSET", type=number, help="show who owns the cluster of this file byte"
    )
    add_shown(options, "a JSON document")


def _locate(arguments: Namespace) -> Asked:
    request = LocateRequest(image=arguments.image, guest=arguments.guest, host=arguments.host)
    return Asked(request=request, json=arguments.json, color=arguments.color)


LOCATE = Subcommand(
    name="locate",
    purpose="Follow one byte of the guest's disk into the file, in the present disk and in each "
    "snapshot; or find everything that claims one place of the file.",
    operands=(IMAGE,),
    add_options=_locate_options,
    ask=_locate,
    notes=("Offsets are decimal or 0x hexadecimal, in bytes.",),
    examples=(
        Example("qcow2-dump locate disk.qcow2 --guest 0x8a2a20000"),
        Example("qcow2-dump locate disk.qcow2 --host 0x560c0000"),
    ),
)
