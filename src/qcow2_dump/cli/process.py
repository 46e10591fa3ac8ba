"""The life of a `qcow2-dump` process: what is set for all of it, then its command line."""

import gc
import os

from qcow2_dump.cli.main import main

__all__ = ["run"]


def run() -> int:
    """Run the command line of this process, which ends with it; returns the exit status."""
    # No matrix is multiplied here, yet numpy's library starts a thread for that on each core.
    os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
    # The first look for garbage comes after the start, which leaves none; later ones are as rare.
    gc.set_threshold(100_000)
    try:
        return main()
    finally:
        # What is still alive need not be looked through at the exit.
        gc.freeze()
