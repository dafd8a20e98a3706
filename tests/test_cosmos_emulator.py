"""What the Cosmos DB emulator says when it cannot start."""

from __future__ import annotations

import socket
import subprocess
import sys
from pathlib import Path

import pytest

from local import cosmos_emulator
from local.failure import Failure
from local.staging import REPOSITORY


def test_it_names_what_is_missing(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(Failure, match=r"Node\.js"):
        cosmos_emulator.command("127.0.0.1", 0)
    (tmp_path / "node").touch(mode=0o755)
    monkeypatch.setattr(cosmos_emulator, "_PROGRAM", tmp_path / "cli.js")
    with pytest.raises(Failure, match="make cosmos"):
        cosmos_emulator.command("127.0.0.1", 0)


def test_it_fails_where_its_port_is_taken() -> None:
    try:
        cosmos_emulator.command("127.0.0.1", 0)
    except Failure as failure:
        pytest.skip(str(failure))
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = str(taken.getsockname()[1])
        command = [sys.executable, "-m", "local.cosmos_emulator", "--port", port]
        ended = subprocess.run(command, check=False, cwd=REPOSITORY, capture_output=True, text=True, timeout=60)
    assert (ended.returncode, ended.stdout) == (1, "")
    assert "EADDRINUSE" in ended.stderr
    assert "cosmos_emulator: the server stopped" in ended.stderr
