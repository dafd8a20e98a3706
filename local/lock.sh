#!/bin/sh
# Resolve pyproject.toml into the lock files: exact versions with hashes, for every Python and platform that is supported.
set -eu
compile() {
    uv pip compile --quiet --upgrade --universal --generate-hashes --no-emit-index-url --no-emit-find-links \
        --custom-compile-command "make lock" "$@"
}
compile --python-version 3.11 pyproject.toml --extra local --output-file local/requirements.lock
compile --python-version 3.11 pyproject.toml --extra local --group dev --constraints local/requirements.lock \
    --output-file tests/requirements.lock
echo 'azure-functions-runtime>=1.3,<2' |
    compile --python-version 3.13 --no-deps --output-file local/azure-worker.lock -
