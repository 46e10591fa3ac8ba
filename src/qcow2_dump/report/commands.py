"""Commands that advice may name, ready to be typed into a shell."""

import os
import shlex
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from qcow2_dump.events import ChangeMade

__all__ = ["command", "path", "undo_command"]


def command(subcommand: str, *operands: str) -> str:
    """A ``qcow2-dump`` command line, quoted for a shell, free of control characters."""
    return " ".join(["qcow2-dump", subcommand, *(_shell_word(word) for word in operands)])


def path(name: str) -> str:
    """A path as an operand: one that starts with a dash must not be taken for an option."""
    return f"./{name}" if name.startswith("-") else name


def undo_command(made: "ChangeMade") -> str | None:
    """The line that takes a change back, None where nothing does."""
    if made.undo_file is None:
        return None
    named = () if made.is_found else ("--undo-file", made.undo_file)
    return command("undo", path(made.name), *named)


def _shell_word(word: str) -> str:
    if word.isprintable():
        return shlex.quote(word)
    escaped = "".join(_shell_byte(byte) for byte in os.fsencode(word))
    return f"$'{escaped}'"


def _shell_byte(byte: int) -> str:
    character = chr(byte)
    if character in "\\'":
        return "\\" + character
    return character if 0x20 <= byte < 0x7F else f"\\x{byte:02x}"
