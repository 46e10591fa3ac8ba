"""The classic face: the options of the original `qcow2-dump`, for the scripts that use them.

Each line becomes the same request as a subcommand. Whatever the original would have passed over
in silence and could change an image is refused instead.
"""

import getopt
from collections.abc import Sequence
from typing import TYPE_CHECKING, Literal, cast

from qcow2_dump.cli.asked import (
    Asked,
    ClassicView,
    HeaderFieldsRequest,
    HelpRequest,
    VersionRequest,
)
from qcow2_dump.cli.classic_options import OPTIONS, ClassicOption, classic_page, option_names
from qcow2_dump.cli.usage import UsageError, choose
from qcow2_dump.operations.requests import (
    ALL_TREES,
    CheckRequest,
    DumpRequest,
    DumpWhat,
    InfoRequest,
)

if TYPE_CHECKING:
    from qcow2_dump.cli.asked import Request

__all__ = ["parse"]

Mode = Literal["info", "check", "error", "dump", "edit", "copy", "rebase"]

_WHAT: dict[str, DumpWhat] = {"refcount": "refcounts", "snapshot": "tables", "all": "all"}
_CHANGES = ("repair", "apply", "delete", "exclude", "mark", "clean")
_OPERANDS = {
    "edit": ("offset", "value", "width"),
    "copy": ("offset", "src", "width", "file"),
    "rebase": ("file",),
}
_HOW = ("yes", "dry-run", "undo-file", "no-undo", "force-unlocked")


def parse(words: Sequence[str]) -> Asked:
    """What a line of classic options asks for.

    Raises UsageError and RequestError, never anything else.
    """
    given, images = _read(words)
    if "help" in given:
        return Asked(request=HelpRequest(classic_page()))
    if "version" in given:
        return Asked(request=VersionRequest())
    if "header" in given:
        return Asked(request=HeaderFieldsRequest())
    if len(images) != 1:
        wrong = "an IMAGE is missing" if not images else f"{images[1]!r} is one IMAGE too many"
        raise UsageError(wrong)
    return _Line(given, images[0]).ask()


def _read(words: Sequence[str]) -> tuple[dict[str, str], list[str]]:
    """The options by their long names, the last of each, with their values; and the operands."""
    shorts, longs = "", []
    for option in OPTIONS:
        for name in option.names:
            if name.startswith("--"):
                longs.append(name[2:] + ("=" if option.takes_value else ""))
            else:
                shorts += name[1:] + (":" if option.takes_value else "")
    try:
        pairs, operands = getopt.gnu_getopt(list(words), shorts, longs)
    except getopt.GetoptError as error:
        raise UsageError(_refusal(error)) from None
    named = {name: option for option in OPTIONS for name in option.names}
    given = {}
    for name, value in pairs:
        option = named[name]
        given[option.name] = _value(option, value)
    return given, operands


def _refusal(error: getopt.GetoptError) -> str:
    name = f"--{error.opt}" if f"--{error.opt}" in error.msg else f"-{error.opt}"
    for option in OPTIONS:
        if name in option.names:
            verb = "needs a value" if option.takes_value else "takes no value"
            return f"{name} {verb}"
    there = " ".join("/".join(option.names) for option in OPTIONS)
    return f"there is no option {name!r}; there are: {there}"


def _value(option: ClassicOption, value: str) -> str:
    if not option.choices:
        return value
    synonyms = dict(option.synonyms)
    return synonyms.get(value) or choose(option.names[0], value, (*option.choices, *synonyms))


class _Line:
    """The options given for an image, and the request that they add up to."""

    def __init__(self, given: dict[str, str], image: str) -> None:
        self._given = given
        self._image = image
        self._mode = cast(Mode, given.get("mode", "check"))
        self._repair = given.get("repair", "check")
        none = {name for name in ("mark", "clean") if given.get(name) == "none"}
        if self._repair in ("none", "check"):
            none.add("repair")
        self._changes = [name for name in _CHANGES if name in given and name not in none]

    def ask(self) -> Asked:
        """The request, and how its answer is shown. Raises UsageError and RequestError."""
        self._refuse_what_does_not_fit()
        color = "never" if self._given.get("display") == "none" else "auto"
        view = ClassicView(
            what=_WHAT[self._given.get("output", "all")],
            snapshot=self._given.get("snapshot", ALL_TREES),
            prealloc="prealloc" in self._given,
            owners=self._repair != "none",
        )
        return Asked(
            request=self._request(view),
            json="json" in self._given,
            color="never" if self._mode == "dump" else color,
            classic=view,
        )

    def _refuse_what_does_not_fit(self) -> None:
        """Options that go together, or with a mode, in one way only."""
        if len(self._changes) > 1:
            raise UsageError(
                f"{option_names(self._changes)} are several changes: ask for one at a time"
            )
        if self._changes and self._mode != "check":
            raise UsageError(
                f"{option_names(self._changes)} goes with -m check, not -m {self._mode}"
            )
        if "repair" in self._given and self._mode != "check":
            raise UsageError(f"-R goes with -m check, not -m {self._mode}")
        if self._changes != ["repair"]:
            self._refuse("reuse", "goes with -R leak, error, reuse or all")
        if self._changes not in (["repair"], ["mark"]):
            self._refuse("free-orphans", "goes with -R leak, error, reuse or all, or -M dirty")
        taken = _OPERANDS.get(self._mode, ())
        for name in ("offset", "value", "src", "width", "file"):
            if name not in taken:
                modes = [mode for mode, names in _OPERANDS.items() if name in names]
                self._refuse(name, f"goes with -m {' or '.join(modes)}, not -m {self._mode}")
        if not self._changes and self._mode not in _OPERANDS:
            for name in _HOW:
                self._refuse(name, "goes with an option that changes the image")

    def _refuse(self, name: str, reason: str) -> None:
        if name in self._given:
            raise UsageError(f"{option_names([name])} {reason}")

    def _request(self, view: ClassicView) -> "Request":
        if self._changes or self._mode in _OPERANDS:
            from qcow2_dump.cli.classic_changes import Change

            name = self._changes[0] if self._changes else self._mode
            return Change(name, self._given, self._image).request()
        look = "base" not in self._given
        lock = "lock" in self._given
        if self._mode == "info":
            return InfoRequest(images=(self._image,), look_for_backing=look, lock=lock)
        if self._mode == "dump":
            return DumpRequest(
                image=self._image,
                what=view.what,
                snapshot=view.snapshot,
                format="jsonl" if "json" in self._given else "text",
                flags="flags" in self._given,
                deep="compress" in self._given,
                look_for_backing=look,
                lock=lock,
            )
        return CheckRequest(
            images=(self._image,),
            deep="compress" in self._given,
            errors=self._mode == "error",
            statistics=True,
            look_for_backing=look,
            lock=lock,
        )
