#!/bin/sh
# Make the virtual environment VENV, where there is none, and install a lock file into it: with uv where it is installed,
# else with venv and pip.   Usage: setup.sh VENV LOCKFILE
set -eu
venv=$1 lock=$2

fail() {
    echo "setup: $1" >&2
    exit 1
}

make_venv() {
    if [ -z "${PYTHON:-}" ] && command -v uv >/dev/null; then
        uv venv --quiet --clear --python '>=3.11' "$venv" # uv finds one, or fetches it
        return
    fi
    python=${PYTHON:-python3}
    "$python" -c 'import sys; sys.exit(sys.version_info < (3, 11))' ||
        fail "$python is no Python 3.11 or later: install one and name it, as in: make run PYTHON=python3.12"
    if command -v uv >/dev/null; then
        uv venv --quiet --clear --python "$python" "$venv"
    else
        "$python" -m venv --clear "$venv" ||
            fail "$python cannot make a virtual environment (on Debian and Ubuntu: apt install python3-venv)"
    fi
}

if ! "$venv/bin/python" -c '' 2>/dev/null; then
    echo "setup: making $venv"
    make_venv
fi

if command -v uv >/dev/null; then
    echo "setup: installing $lock with uv"
else
    echo "setup: installing $lock with pip (this takes a minute; uv would take seconds)"
fi
sh local/pip_install.sh "$venv" --quiet --requirement "$lock"

# Microsoft publishes its worker library for Python 3.13 and later, on which Azure runs it; it works on 3.11 as well.
worker=local/azure-worker.lock
if command -v uv >/dev/null; then
    site=$("$venv/bin/python" -c 'import sysconfig; print(sysconfig.get_path("purelib"))')
    uv pip install --quiet --no-deps --python-version 3.13 --target "$site" --requirements "$worker"
else
    sh local/pip_install.sh "$venv" --quiet --no-deps --ignore-requires-python --requirement "$worker"
fi
echo "setup: done"
