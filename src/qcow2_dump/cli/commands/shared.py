"""Options that several subcommands have."""

from typing import TYPE_CHECKING

from qcow2_dump.cli.subcommand import Operand, Options

if TYPE_CHECKING:
    from argparse import _ArgumentGroup

__all__ = ["IMAGE", "IMAGES", "add_base", "add_lock", "add_shown"]

IMAGE = Operand("image", "IMAGE", "a qcow2 image")
IMAGES = Operand("images", "IMAGE", "a qcow2 image; several are taken one by one", many=True)


def add_shown(options: "Options | _ArgumentGroup", json: str) -> None:
    """How the answer is shown: ``json`` says what `--json` prints."""
    options.add_argument("--json", action="store_true", help=f"print {json}")
    options.add_argument(
        "--color",
        metavar="WHEN",
        choices=["auto", "always", "never"],
        default="auto",
        help="colours: auto (on a terminal; default), always, never",
    )


def add_base(options: Options) -> None:
    """Leave alone the file that the image names."""
    options.add_argument(
        "--base", action="store_true", help="do not look whether the backing file exists"
    )


def add_lock(options: Options) -> None:
    """Keep QEMU away from the image while it is read."""
    options.add_argument(
        "--lock",
        action="store_true",
        help="keep QEMU from writing meanwhile, or end with 240",
    )
