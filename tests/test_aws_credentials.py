"""Where AWS's credentials come from: the variables that Lambda sets, and else what botocore finds."""

from __future__ import annotations

import importlib.util
import json
import os
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from itertools import count
from pathlib import Path

import pytest

import aws_credentials
from aws_credentials import Credentials, NoCredentials
from core.errors import ConfigurationError
from local.staging import REPOSITORY

pytestmark = pytest.mark.anyio
_VARIABLES = {"AWS_ACCESS_KEY_ID": "AKIA", "AWS_SECRET_ACCESS_KEY": "hidden", "AWS_SESSION_TOKEN": "borrowed"}
needs_botocore = pytest.mark.skipif(importlib.util.find_spec("botocore") is None, reason="needs the package 'botocore'")


@pytest.fixture
def nothing_set(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An environment without credentials, and a folder in which a profile may be written."""
    for name in [name for name in os.environ if name.startswith("AWS_")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    monkeypatch.setenv("AWS_CONFIG_FILE", str(tmp_path / "config"))
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", str(tmp_path / "credentials"))
    return tmp_path


async def test_the_variables_are_all_that_is_needed() -> None:
    assert await aws_credentials.source(_VARIABLES)() == Credentials("AKIA", "hidden", "borrowed")
    without = {**_VARIABLES, "AWS_SESSION_TOKEN": ""}
    assert await aws_credentials.source(without)() == Credentials("AKIA", "hidden", None)


@needs_botocore
async def test_else_a_profile_is_read(nothing_set: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (nothing_set / "credentials").write_text("[ops]\naws_access_key_id = AKIAOPS\naws_secret_access_key = theirs\n")
    monkeypatch.setenv("AWS_PROFILE", "ops")
    assert await aws_credentials.source({})() == Credentials("AKIAOPS", "theirs", None)


@needs_botocore
@pytest.mark.usefixtures("nothing_set")
async def test_else_a_container_s_role_is_asked_and_asked_again_before_its_end(monkeypatch: pytest.MonkeyPatch) -> None:
    """As Lambda gives credentials to a sandbox that it has made from a snapshot."""
    with _role() as url:
        monkeypatch.setenv("AWS_CONTAINER_CREDENTIALS_FULL_URI", url)
        monkeypatch.setenv("AWS_CONTAINER_AUTHORIZATION_TOKEN", "let me in")
        monkeypatch.setenv("NO_PROXY", "127.0.0.1")
        source = aws_credentials.source({})
        given = [await source(), await source()]
    assert given == [Credentials(one.access_key, "theirs", "borrowed") for one in given]
    assert given[0] != given[1]


@contextmanager
def _role() -> Iterator[str]:
    """Where a container's credentials are to be had, new ones each time, which end soon."""
    given = count(1)

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            assert self.headers["Authorization"] == "let me in"
            end = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(time.time() + 300))
            role = {"AccessKeyId": f"ASIA{next(given)}", "SecretAccessKey": "theirs", "Token": "borrowed"}
            self.send_response(200)
            self.end_headers()
            self.wfile.write(json.dumps({**role, "Expiration": end}).encode())

        def log_message(self, format: str, *args: object) -> None:  # noqa: A002
            """Say nothing."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, args=(0.02,))
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}/role"
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


@needs_botocore
async def test_a_profile_that_is_not_there_is_named(nothing_set: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_PROFILE", "missing")
    with pytest.raises(NoCredentials, match=r"no credentials: .*missing"):
        await aws_credentials.source({})()


@needs_botocore
@pytest.mark.usefixtures("nothing_set")
async def test_where_there_are_none_the_variables_are_named() -> None:
    with pytest.raises(NoCredentials, match="no credentials: set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY"):
        await aws_credentials.source({})()


def test_without_botocore_the_variables_are_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "botocore", None)
    monkeypatch.setitem(sys.modules, "botocore.session", None)
    with pytest.raises(ConfigurationError, match="botocore is not installed: set AWS_ACCESS_KEY_ID"):
        aws_credentials.source({})


def test_with_the_variables_botocore_is_not_loaded() -> None:
    program = f"import sys, aws_credentials as a; a.source({_VARIABLES}); sys.exit('botocore' in sys.modules)"
    environ = {**os.environ, "PYTHONPATH": f"{REPOSITORY}:{REPOSITORY / 'aws'}"}
    subprocess.run([sys.executable, "-c", program], env=environ, check=True)
