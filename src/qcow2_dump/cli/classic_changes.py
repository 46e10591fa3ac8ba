"""The classic options that change an image, as the requests of the subcommands."""

from collections.abc import Callable, Mapping
from typing import cast

from qcow2_dump.cli.classic_options import option_names
from qcow2_dump.cli.usage import UsageError, read_number
from qcow2_dump.operations.write_requests import (
    EVERY_SNAPSHOT,
    CopyRequest,
    EditRequest,
    FlagRequest,
    HeaderFlag,
    RebaseRequest,
    RepairRequest,
    SnapshotAction,
    SnapshotRequest,
    WriteOptions,
    WriteRequest,
)

__all__ = ["Change"]


class Change:
    """A change of an image, by the long name of the option or the mode that asks for it.

    ``given`` has the values of the options, by their long names.
    """

    def __init__(self, name: str, given: Mapping[str, str], image: str) -> None:
        self._name = name
        self._given = given
        self._image = image

    def request(self) -> WriteRequest:
        """What is to be changed. Raises UsageError and RequestError."""
        makers: dict[str, Callable[[], WriteRequest]] = {
            "edit": self._edit,
            "copy": self._copy,
            "rebase": self._rebase,
            "repair": self._repair,
            "mark": self._flag,
            "clean": self._flag,
        }
        return makers.get(self._name, self._snapshot)()

    def _edit(self) -> EditRequest:
        return EditRequest(
            image=self._image,
            offset=self._number("offset"),
            value=self._number("value") if "value" in self._given else None,
            width=self._number("width") if "width" in self._given else 8,
            options=self._options(),
        )

    def _copy(self) -> CopyRequest:
        return CopyRequest(
            image=self._image,
            source=self._number("src"),
            destination=self._number("offset"),
            length=self._number("width"),
            file=self._given.get("file"),
            options=self._options(),
        )

    def _rebase(self) -> RebaseRequest:
        return RebaseRequest(
            image=self._image,
            backing=self._needed("file"),
            look_for_backing="base" not in self._given,
            options=self._options(),
        )

    def _repair(self) -> RepairRequest:
        what = self._given["repair"]
        return RepairRequest(
            image=self._image,
            leaks=what == "leak",
            errors=what == "error",
            reuse=what == "reuse" or "reuse" in self._given,
            everything=what == "all",
            free_orphans="free-orphans" in self._given,
            deep="compress" in self._given,
            look_for_backing="base" not in self._given,
            options=self._options(),
        )

    def _flag(self) -> FlagRequest:
        return FlagRequest(
            image=self._image,
            action="mark" if self._name == "mark" else "clear",
            flag=cast(HeaderFlag, self._given[self._name]),
            free_orphans="free-orphans" in self._given,
            options=self._options(),
        )

    def _snapshot(self) -> SnapshotRequest:
        snapshot = self._given[self._name]
        action: SnapshotAction = "apply" if self._name == "apply" else "delete"
        if self._name == "exclude":
            # "0" keeps none of them.
            action, snapshot = ("delete", EVERY_SNAPSHOT) if snapshot == "0" else ("keep", snapshot)
        return SnapshotRequest(
            image=self._image, action=action, snapshot=snapshot, options=self._options()
        )

    def _options(self) -> WriteOptions:
        """A classic option that writes is itself the consent, as it always was."""
        return WriteOptions(
            dry_run="dry-run" in self._given,
            yes=True,
            undo_file=self._given.get("undo-file"),
            undo="no-undo" not in self._given,
            force_unlocked="force-unlocked" in self._given,
        )

    def _number(self, name: str) -> int:
        try:
            return read_number(self._needed(name))
        except ValueError as error:
            raise UsageError(f"{option_names([name])}: {error}") from None

    def _needed(self, name: str) -> str:
        if name not in self._given:
            raise UsageError(f"-m {self._name} needs {option_names([name])}")
        return self._given[name]
