#!/bin/sh
# Resolve pyproject.toml into the lock files: exact versions with hashes, for every Python and platform that is supported.
set -eu
compile() {
    uv pip compile --quiet --upgrade --generate-hashes --no-emit-index-url --no-emit-find-links \
        --custom-compile-command "make lock" "$@"
}
compile --universal --python-version 3.11 pyproject.toml --extra local --output-file local/requirements.lock
compile --universal --python-version 3.11 pyproject.toml --extra local --group dev --constraints local/requirements.lock \
    --output-file tests/requirements.lock
echo 'azure-functions-runtime>=1.3,<2' |
    compile --universal --python-version 3.13 --no-deps --output-file local/azure-worker.lock -

# What each cloud's zip holds, as Lambda, Functions and Cloud Run have it: without markers, which pip reads as for the
# machine that it runs on. The hashes are those of all platforms.
for cloud in aws azure gcp; do
    compile --python-version 3.13 --python-platform x86_64-manylinux_2_28 --only-binary :all: \
        --constraints local/requirements.lock "$cloud/requirements.txt" --output-file "$cloud/requirements.lock"
done
