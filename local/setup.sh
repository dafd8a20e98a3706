#!/bin/sh
# Make the virtual environment VENV, where there is none, and install a lock file into it: with uv where it is installed,
# else with venv and pip.   Usage: setup.sh VENV LOCKFILE
set -eu
venv=$1 lock=$2
python=${PYTHON:-python3}

fail() {
    echo "setup: $1" >&2
    exit 1
}

if ! "$venv/bin/python" -c '' 2>/dev/null; then
    echo "setup: making $venv"
    if command -v uv >/dev/null; then
        uv venv --quiet --clear --python '>=3.11' "$venv"
    else
        "$python" -c 'import sys; sys.exit(sys.version_info < (3, 11))' ||
            fail "$python is older than Python 3.11: install a newer one and name it, as in: make run PYTHON=python3.12"
        "$python" -m venv --clear "$venv" ||
            fail "$python cannot make a virtual environment (on Debian and Ubuntu: apt install python3-venv)"
    fi
fi

# Microsoft publishes its worker library for Python 3.13 and later, on which Azure runs it; it works on 3.11 as well.
worker=local/azure-worker.lock
if command -v uv >/dev/null; then
    echo "setup: installing $lock with uv"
    uv pip install --quiet --python "$venv/bin/python" --requirements "$lock"
    site=$("$venv/bin/python" -c 'import sysconfig; print(sysconfig.get_path("purelib"))')
    uv pip install --quiet --no-deps --python-version 3.13 --target "$site" --requirements "$worker"
else
    echo "setup: installing $lock with pip (this takes a minute; uv would take seconds)"
    pip="$venv/bin/python -m pip --disable-pip-version-check --quiet install"
    $pip --requirement "$lock"
    $pip --no-deps --ignore-requires-python --requirement "$worker"
fi
echo "setup: done"
