#!/bin/sh
# usage: make-venv.sh DIRECTORY [PYTHON]
# Make a virtual environment with the first Python that is new enough, or say that there is none.
set -eu

venv=$1
wanted=${2:-}

new_enough() {
    "$1" -c 'import sys; sys.exit(sys.version_info < (3, 11))' >/dev/null 2>&1
}

found=
for candidate in ${wanted:-python3 python3.14 python3.13 python3.12 python3.11}; do
    if new_enough "$candidate"; then
        found=$candidate
        break
    fi
done

if [ -z "$found" ]; then
    echo "qcow2-dump needs Python 3.11 or newer, and ${wanted:-no python3 here} is not:" \
        "install one, or name it with 'make PYTHON=/path/to/python3.11 ...'." >&2
    exit 1
fi

if ! "$found" -c 'import ensurepip, venv' >/dev/null 2>&1; then
    echo "$found cannot make virtual environments: install its venv module" \
        "(Debian: apt-get install python3-venv)." >&2
    exit 1
fi

"$found" -m venv "$venv"
