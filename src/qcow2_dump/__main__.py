"""``python -m qcow2_dump``: the same as the ``qcow2-dump`` command."""

import sys

from qcow2_dump.cli.process import run

if __name__ == "__main__":
    sys.exit(run())
