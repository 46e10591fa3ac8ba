"""Writers that die: real qemu-io and qemu-img processes, killed while they change an image.

Run as a program it prints what became of the leaks: `python -m tests.differential.killed_writers`
with the number of runs.
"""

from __future__ import annotations

import random
import shutil
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import qcow2_dump
from qcow2_dump import CheckResult
from tests.corpus import qemu
from tests.corpus.base import KIB, MIB
from tests.corpus.imagefile import ImageFile
from tests.corpus.layout import Layout

DISKS = {512: MIB, 4 * KIB: 16 * MIB, 64 * KIB: 256 * MIB}
# The steps at which QEMU can be stopped while it allocates, in blkdebug's words.
STEPS = (
    "l1_update",
    "l2_update",
    "l2_update_compressed",
    "l2_alloc_write",
    "refblock_update_part",
    "refblock_alloc_hookup",
    "refblock_alloc_write",
    "cluster_alloc",
    "cow_write",
    "write_aio",
    "flush_to_os",
)


@dataclass(frozen=True)
class Victim:
    """An image and how its writer works; random, but the same for the same number."""

    path: Path
    rng: random.Random
    cluster: int
    version: int
    lazy: bool
    compressed: bool

    @property
    def disk(self) -> int:
        """Bytes of the virtual disk."""
        return DISKS[self.cluster]

    def commands(self, count: int) -> list[str]:
        """Random requests for qemu-io; sequential stretches, as a guest writes them, between.

        Compressed clusters have the second half of the disk for themselves: QEMU 7.2 packs further
        ones into a cluster of which all were freed and that was given to something else since.
        """
        found, rng, cluster, half = list[str](), self.rng, self.cluster, self.disk // 2
        while len(found) < count:
            start = rng.randrange(half // cluster) * cluster
            if self.compressed and rng.random() < 0.3:
                found.append(f"write -c -P {rng.randrange(1, 256)} {half + start} {cluster}")
                continue
            for _ in range(rng.choice((1, 1, 1, 8))):
                length = rng.choice((512, cluster, 3 * cluster, 5 * cluster + 512))
                length = min(length, half - start)
                verb = rng.choices(("write -P 7", "write -z", "discard", "flush"), (16, 1, 1, 2))[0]
                found.append(verb if verb == "flush" else f"{verb} {start} {length}")
                start = (start + length) // cluster * cluster % half
        return found[:count]


def make_victim(number: int, folder: Path) -> Victim:
    """An image with some content, some with snapshots, as QEMU closed it."""
    rng = random.Random(f"victim {number}")
    version = rng.choice((2, 3, 3))
    lazy = version == 3 and rng.random() < 0.25
    cluster = rng.choice((512, 4 * KIB, 4 * KIB, 64 * KIB))
    victim = Victim(folder / "image.qcow2", rng, cluster, version, lazy, rng.random() < 0.25)
    options: dict[str, str | int] = {"cluster_size": cluster}
    options["compat"] = "0.10" if version == 2 else "1.1"
    if lazy:
        options["lazy_refcounts"] = "on"
    qemu.create(victim.path, victim.disk, **options)
    for name in range(rng.choice((0, 1, 1, 2))):
        _run_to_the_end(victim, victim.commands(rng.choice((5, 40))))
        if rng.random() < 0.5:
            qemu.img("snapshot", "-c", f"state-{name}", victim.path)
    return victim


def _run_to_the_end(victim: Victim, commands: list[str]) -> None:
    flags = [part for command in commands for part in ("-c", command)]
    # Status 1: QEMU refuses to write a compressed cluster over one in use.
    qemu.run(["qemu-io", "-d", "unmap", *flags, victim.path], allowed=(0, 1))


# Each write to the file waits for its turn, so that a death between two of them is likely.
SLOW = ("--object", "throttle-group,id=slow,x-iops-write=50")


def _target(path: Path, *, below: str = "", tables: int = 0) -> list[str]:
    """The image as QEMU opens it: over a driver that stops or slows it, with small caches.

    `tables` is how many L2 tables the cache holds, 0 for the usual size.
    """
    options = "driver=qcow2"
    if tables:
        options += f",l2-cache-size={tables * Layout(path).cluster_size},refcount-cache-size=2k"
    drivers = {"": "", "blkdebug": "file.driver=blkdebug,", "slow": "file.driver=throttle,"}[below]
    if below == "slow":
        drivers += "file.throttle-group=slow,"
    node = "file.file" if below == "slow" else "file.image" if below else "file"
    return [
        *(SLOW if below == "slow" else ()),
        "--image-opts",
        f"{options},{drivers}{node}.driver=file,{node}.filename={path}",
    ]


def kill_after_commands(victim: Victim) -> None:
    """Small caches make QEMU write some tables early; the process dies between two requests."""
    rng = victim.rng
    commands = [*victim.commands(rng.randint(3, 80)), "sigraise 9"]
    flags = [part for command in commands for part in ("-c", command)]
    mode = rng.choice(("writeback", "unsafe", "writethrough"))
    qemu.run(
        ["qemu-io", "-d", "unmap", "-t", mode, *flags, *_target(victim.path, tables=2)],
        allowed=(-9,),
    )


def kill_at_a_step(victim: Victim) -> None:
    """The process stands still at one step of an allocation when it dies."""
    rng = victim.rng
    writes = [command for command in victim.commands(40) if command.startswith("write ")]
    pending = [
        command.replace("write", "aio_write", 1) for command in writes if "-c" not in command
    ]
    if victim.compressed:
        pending = ["aio_write -P 9 0 512", *pending]
    commands = [
        *victim.commands(rng.randint(0, 20)),
        f"break {rng.choice(STEPS)} here",
        *pending[: rng.randint(1, 12)],
        "sleep 40",
        "sigraise 9",
    ]
    flags = [part for command in commands for part in ("-c", command)]
    target = _target(victim.path, below="blkdebug", tables=rng.choice((0, 1, 2)))
    qemu.run(["qemu-io", "-d", "unmap", "-t", "writethrough", *flags, *target], allowed=(-9,))


def kill_at_a_moment(victim: Victim) -> None:
    """SIGKILL at a random time, in the middle of whatever the process does."""
    rng = victim.rng
    target = _target(victim.path, below=rng.choice(("", "slow")), tables=rng.choice((0, 1, 2)))
    mode = rng.choice(("writeback", "writethrough"))
    _kill_soon(
        ["qemu-io", "-d", "unmap", "-t", mode, *target],
        rng.uniform(0.03, 0.15),
        "\n".join(victim.commands(2000)),
    )


def kill_a_snapshot(victim: Victim) -> None:
    """SIGKILL of `qemu-img snapshot` while it makes or deletes a snapshot."""
    rng = victim.rng
    _run_to_the_end(victim, victim.commands(60))
    qemu.img("snapshot", "-c", "last", victim.path)
    _run_to_the_end(victim, victim.commands(60))
    asked = rng.choice((["-d", "last"], ["-c", "new"]))
    target = _target(victim.path, below="slow", tables=rng.choice((0, 1)))
    _kill_soon(["qemu-img", "snapshot", *asked, *target], rng.uniform(0.01, 0.25), "")


def _kill_soon(command: list[str], seconds: float, words: str) -> None:
    """Start a process, give it its input, and kill it after some seconds."""
    with tempfile.TemporaryFile("w+") as given:
        given.write(words)
        given.seek(0)
        process = subprocess.Popen(
            command, stdin=given, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        )
        time.sleep(seconds)
        process.kill()
        process.wait()


DEATHS: tuple[Callable[[Victim], None], ...] = (
    kill_after_commands,
    kill_at_a_step,
    kill_at_a_moment,
    kill_a_snapshot,
)


@dataclass(frozen=True)
class Outcome:
    """What our check says of an image whose writer died; ``codes`` are those of its findings."""

    result: CheckResult
    codes: frozenset[str]
    empty_tables: int

    @property
    def word(self) -> str:
        """No leak, waste, or why the leaks are kept."""
        triage = self.result.triage
        if not triage.waste + triage.orphans:
            return "no leak"
        if not triage.orphans:
            return "waste"
        if self.empty_tables and {"l2.empty", "l2.wiped"} & self.codes:
            return "empty table"
        return "; ".join(triage.reasons)


def die(number: int, death: Callable[[Victim], None], folder: Path) -> Outcome:
    """Make an image, let its writer die, and check what is left."""
    folder.mkdir(parents=True)
    try:
        victim = make_victim(number, folder)
        death(victim)
        with qcow2_dump.open_image(victim.path) as image:
            result = qcow2_dump.check(image).result
        codes = frozenset(code for code, tally in result.tallies.items() if tally.places)
        return Outcome(result, codes, empty_tables(victim.path))
    finally:
        shutil.rmtree(folder)


def empty_tables(path: Path) -> int:
    """How many L2 tables in use hold nothing, read independently of our check."""
    layout = Layout(path)
    with ImageFile(path, writable=False) as image:
        tables = [image.read(offset, layout.cluster_size) for offset in layout.l2_tables]
    return sum(not any(table) for table in tables)


def main() -> None:
    """Print the outcomes of some runs, by the way in which the writer died."""
    runs = int(sys.argv[1]) if len(sys.argv) > 1 else 200
    first = int(sys.argv[2]) if len(sys.argv) > 2 else 0
    counts: Counter[tuple[str, str]] = Counter()
    with tempfile.TemporaryDirectory(prefix="qcow2-killed-") as root:
        for number in range(first, first + runs):
            death = DEATHS[number % len(DEATHS)]
            outcome = die(number, death, Path(root) / str(number))
            counts[death.__name__, outcome.word] += 1
            if outcome.word not in ("no leak", "waste", "empty table"):
                sys.stdout.write(f"{number}: {death.__name__}: {outcome.word}\n")
    for (name, word), count in sorted(counts.items()):
        sys.stdout.write(f"{name:<22} {count:>4}  {word}\n")


if __name__ == "__main__":
    main()
