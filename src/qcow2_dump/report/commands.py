"""Commands that advice may name, ready to be typed into a shell."""

import os
import shlex

__all__ = ["PLANNED", "command", "path", "planned"]

PLANNED = frozenset({"snapshot"})
"""Subcommands whose name is settled and that cannot be run yet."""


def command(subcommand: str, *operands: str) -> str:
    """A ``qcow2-dump`` command line, quoted for a shell, free of control characters."""
    return " ".join(["qcow2-dump", subcommand, *(_shell_word(word) for word in operands)])


def path(name: str) -> str:
    """A path as an operand: one that starts with a dash must not be taken for an option."""
    return f"./{name}" if name.startswith("-") else name


def planned(line: str) -> bool:
    """Whether a line of `command` names a subcommand that cannot be run yet."""
    words = line.split(" ", 2)
    return words[0] == "qcow2-dump" and len(words) > 1 and words[1] in PLANNED


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
