"""A change that was asked for, as the words of the subcommand that asks for it."""

from qcow2_dump.operations.write_requests import (
    CopyRequest,
    EditRequest,
    FlagRequest,
    RebaseRequest,
    RepairRequest,
    SnapshotRequest,
    UndoRequest,
    WriteOptions,
    WriteRequest,
)
from qcow2_dump.report.commands import command, path

__all__ = ["done_words", "speaker", "subcommand_of", "typed"]

_DONE = {
    RepairRequest: "repaired",
    UndoRequest: "taken back",
    FlagRequest: "flag changed",
    EditRequest: "stored",
    CopyRequest: "copied",
    RebaseRequest: "backing file name changed",
}
_CLASSIC_SNAPSHOT = {"list": "-m info", "apply": "-A", "delete": "-D", "keep": "-E"}
_SNAPSHOT_DONE = {"apply": "snapshot applied", "delete": "deleted", "keep": "others deleted"}


def subcommand_of(request: WriteRequest) -> str:
    """The name of the subcommand."""
    return type(request).__name__.removesuffix("Request").lower()


def speaker(request: WriteRequest, *, classic: bool) -> str:
    """Who speaks of a request: its subcommand, or the classic option that stands for it."""
    if not classic:
        return subcommand_of(request)
    if isinstance(request, SnapshotRequest):
        return _CLASSIC_SNAPSHOT[request.action]
    if isinstance(request, FlagRequest):
        return "-M" if request.action == "mark" else "-C"
    return "-R" if isinstance(request, RepairRequest) else f"-m {subcommand_of(request)}"


def done_words(request: WriteRequest) -> str:
    """What was done, in a word or two."""
    if isinstance(request, SnapshotRequest):
        return _SNAPSHOT_DONE.get(request.action, "done")
    if isinstance(request, UndoRequest) and request.finish:
        return "brought to its end"
    return _DONE[type(request)]


def typed(request: WriteRequest, *more: str) -> str:
    """The line to type for a request, without what shows it only, with some more options."""
    words = [*_operands(request), *_how(request.options), *more]
    return command(subcommand_of(request), *words)


def _operands(request: WriteRequest) -> list[str]:
    """The operands of a request and its options, in the order in which they are listed."""
    image = path(request.image)
    if isinstance(request, RepairRequest):
        return [image, *_repairs(request)]
    if isinstance(request, UndoRequest):
        return [image, *(["--finish"] if request.finish else [])]
    if isinstance(request, SnapshotRequest):
        return [request.action, image, *([] if request.snapshot is None else [request.snapshot])]
    if isinstance(request, FlagRequest):
        forced = ["--free-orphans"] if request.free_orphans else []
        return [request.action, image, request.flag, *forced]
    if isinstance(request, EditRequest):
        value = [] if request.value is None else [f"{request.value:#x}"]
        width = [] if request.width == 8 else ["--width", str(request.width)]
        return [image, f"{request.offset:#x}", *value, *width]
    if isinstance(request, CopyRequest):
        places = ["--from", f"{request.source:#x}", "--to", f"{request.destination:#x}"]
        file = [] if request.file is None else [f"--file={request.file}"]
        return [image, *places, "--length", str(request.length), *file]
    look = [] if request.look_for_backing else ["--base"]
    return [image, path(request.backing), *look]


def _repairs(request: RepairRequest) -> list[str]:
    given = {
        "--leaks": request.leaks,
        "--errors": request.errors,
        "--reuse": request.reuse,
        "--all": request.everything,
        "--free-orphans": request.free_orphans,
        "--drop-unusable": request.drop_unusable,
        "--drop-bitmaps": request.drop_bitmaps,
        "--deep": request.deep,
        "--base": not request.look_for_backing,
    }
    dropped = [word for at in request.drop_snapshots for word in ("--drop-snapshot", str(at))]
    return [*(option for option, is_given in given.items() if is_given), *dropped]


def _how(options: WriteOptions) -> list[str]:
    words = [] if options.undo_file is None else [f"--undo-file={options.undo_file}"]
    words += [] if options.undo else ["--no-undo"]
    return [*words, *(["--force-unlocked"] if options.force_unlocked else [])]
