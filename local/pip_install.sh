#!/bin/sh
# What `pip install` does, into the virtual environment VENV: by uv where it is installed, else by pip, which an
# environment that uv has made does not have yet.   Usage: pip_install.sh VENV ARGUMENTS_OF_PIP_INSTALL...
set -eu
venv=$1
shift
if command -v uv >/dev/null; then
    exec uv pip install --python "$venv/bin/python" "$@"
fi
"$venv/bin/python" -m pip --version >/dev/null 2>&1 || "$venv/bin/python" -m ensurepip >/dev/null
exec "$venv/bin/python" -m pip --disable-pip-version-check install "$@"
