"""Running the real qemu-img and qemu-io."""

from __future__ import annotations

import random
import subprocess
from collections.abc import Iterable, Sequence
from pathlib import Path

SECRET = ("--object", "secret,id=s,data=abc")


class QemuError(RuntimeError):
    """A tool ended in a way that the recipe did not ask for."""


def run(
    arguments: Sequence[str | Path], *, folder: Path | None = None, allowed: Iterable[int] = (0,)
) -> str:
    """Run a tool in `folder` and return its output; raise `QemuError` on any other status."""
    done = subprocess.run(
        [str(argument) for argument in arguments],
        cwd=folder,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    if done.returncode not in allowed:
        raise QemuError(f"{arguments}: status {done.returncode}: {done.stderr}{done.stdout}")
    return done.stdout


def create(path: Path, size: int, **options: str | int) -> None:
    """`qemu-img create` with `-o` options; other files are named relative to the image's folder."""
    chosen = ",".join(f"{key}={value}" for key, value in options.items())
    extra = ["-o", chosen] if chosen else []
    run(["qemu-img", "create", "-q", "-f", "qcow2", *extra, path, str(size)], folder=path.parent)


def create_encrypted(path: Path, size: int, method: str) -> None:
    """An image encrypted with `aes` or `luks` under the key "abc"."""
    options = f"encrypt.format={method},encrypt.key-secret=s"
    if method == "luks":
        # Few key-derivation rounds, as every open pays for them; sha512 is slow enough to time.
        options += ",encrypt.iter-time=10,encrypt.hash-alg=sha512"
    command: list[str | Path] = [
        "qemu-img",
        "create",
        "-q",
        "-f",
        "qcow2",
        *SECRET,
        "-o",
        options,
        path,
        str(size),
    ]
    for _ in range(20):
        try:
            run(command)
        except QemuError as error:
            # The tool times its key derivation and gives up when the clock did not tick meanwhile.
            if "CPU usage" not in str(error):
                raise
        else:
            return
    raise QemuError("the key derivation could not be timed")


def image_arguments(path: Path, *, encrypted: bool) -> list[str]:
    """The arguments that make qemu-img or qemu-io open `path` as qcow2."""
    if not encrypted:
        return ["-f", "qcow2", str(path)]
    name = str(path).replace(",", ",,")
    return [*SECRET, "--image-opts", f"driver=qcow2,encrypt.key-secret=s,file.filename={name}"]


def io(
    path: Path,
    commands: Iterable[str],
    *,
    encrypted: bool = False,
    killed: bool = False,
    small_caches: bool = False,
) -> None:
    """Run qemu-io commands in one process; `killed` ends it without a clean close.

    `small_caches` makes QEMU write tables out long before it closes the image.
    """
    chosen = [*commands, *(["sigraise 9"] if killed else [])]
    flags = [part for command in chosen for part in ("-c", command)]
    target = image_arguments(path, encrypted=encrypted)
    if small_caches:
        caches = "l2-cache-size=1k,refcount-cache-size=2k"
        target = ["--image-opts", f"driver=qcow2,{caches},file.filename={path}"]
    # A data file's name is taken relative to the current directory, not to the image.
    run(
        ["qemu-io", "-d", "unmap", *flags, *target],
        folder=path.parent,
        allowed=(-9,) if killed else (0,),
    )


def img(*arguments: str | Path) -> str:
    """Run qemu-img with these arguments."""
    return run(["qemu-img", *arguments])


def churn(rng: random.Random, size: int, cluster: int, count: int) -> list[str]:
    """Random writes, zeroes and discards within `size` bytes, as qemu-io commands.

    Lengths run from one sector to four clusters; half of the requests are cluster aligned.
    """
    commands = []
    for _ in range(count):
        step = cluster if rng.random() < 0.5 else 512
        length = rng.randint(1, max(1, 4 * cluster // step)) * step
        offset = rng.randrange(max(1, (size - length) // step)) * step
        pattern = rng.randrange(1, 256)
        verb = rng.choices(
            (f"write -P {pattern}", "write -z", "write -z -u", "discard"), (6, 1, 1, 1)
        )[0]
        commands.append(f"{verb} {offset} {length}")
    return commands


def content(rng: random.Random, length: int, block: int) -> bytes:
    """Bytes that compress by different degrees from block to block, some of them zero."""
    parts = []
    for start in range(0, length, block):
        size = min(block, length - start)
        noisy = rng.choice((0, 16, size // 8, size // 2, size))
        parts.append(rng.randbytes(noisy) + bytes([rng.randrange(4)]) * (size - noisy))
    return b"".join(parts)
