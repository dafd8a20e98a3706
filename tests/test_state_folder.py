"""What lies in a run's folder: the lock, the keys, the files for its owner alone."""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

from core import app_keys
from core.admin import Admin
from core.ports import AppKey
from core.sqlite_store import SqliteStore
from local.failure import Failure
from local.keys import ensure_keys
from local.private_file import PrivateFile
from local.staging import REPOSITORY
from local.state_folder import held

_HOLD = "import sys; from pathlib import Path; from local.state_folder import held\nwith held(Path(sys.argv[1])): pass"


def test_a_folder_is_one_run_s_at_a_time(tmp_path: Path) -> None:
    other = [sys.executable, "-c", _HOLD, str(tmp_path)]
    with held(tmp_path):
        run = subprocess.run(other, capture_output=True, text=True, cwd=REPOSITORY, check=False)
        assert f"Failure: {tmp_path} is in use by another run: give this one its own with --state DIR" in run.stderr
    assert subprocess.run(other, cwd=REPOSITORY, check=False).returncode == 0


@pytest.mark.parametrize("place", ["file", "file/below", "/proc/below"])
def test_a_folder_that_cannot_be_is_one_clear_line(tmp_path: Path, place: str) -> None:
    (tmp_path / "file").touch()
    with (
        pytest.raises(Failure, match=r"cannot be used \(.*\): choose another with --state DIR$"),
        held(tmp_path / place),
    ):
        pass


@pytest.mark.parametrize("place", ["", "file/below", "/proc/below", "/proc/below/file"])
def test_a_file_that_cannot_be_written_is_found_out_first(tmp_path: Path, place: str) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(OSError, match=r".") as caught:
        PrivateFile(tmp_path / place).check()
    assert caught.value.strerror


def test_a_file_that_can_be_written_is_left_alone_until_it_is(tmp_path: Path) -> None:
    path = tmp_path / "new" / "file"
    file = PrivateFile(path)
    file.check()
    assert list(path.parent.iterdir()) == []
    file.write("one")
    file.check()
    assert path.read_text() == "one"
    assert path.stat().st_mode & 0o777 == 0o600


def test_a_pipe_is_written_to_and_its_reader_not_disturbed(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    reading = os.open(tmp_path / "pipe", os.O_RDONLY | os.O_NONBLOCK)
    file = PrivateFile(tmp_path / "pipe")
    file.check()
    file.write("told")
    assert os.read(reading, 10) == b"told"
    os.close(reading)


def _ensure(state: Path) -> str:
    return asyncio.run(ensure_keys(state, state / "store.sqlite3")).app_key


async def _change(state: Path, *, app: bool = True, key: bool = True, expired: bool = False) -> None:
    store = SqliteStore(state / "store.sqlite3")
    admin = Admin(store)
    await admin.set_app_enabled("local", enabled=app)
    [found] = [found async for found in admin.keys("local")]
    await admin.set_key_enabled(found.id, enabled=key)
    if expired:
        record = found.record.model_copy(update={"expires_at": int(time.time()) - 1})
        await store.put(AppKey.key(found.digest), record.model_dump())
    store.close()


def test_a_key_that_the_operator_disabled_stays_so(tmp_path: Path) -> None:
    key = _ensure(tmp_path)
    asyncio.run(_change(tmp_path, key=False))
    command = f"python -m core --store {tmp_path}/store.sqlite3 key enable {app_keys.digest(key)[:12]}"
    for _ in range(2):
        with pytest.raises(Failure, match=f"^the app key of local runs is disabled: {command}$"):
            _ensure(tmp_path)
    subprocess.run([sys.executable, *command.split()[1:]], cwd=REPOSITORY, check=True)
    assert _ensure(tmp_path) == key


def test_an_app_that_the_operator_disabled_stays_so(tmp_path: Path) -> None:
    _ensure(tmp_path)
    asyncio.run(_change(tmp_path, app=False))
    with pytest.raises(
        Failure, match=r"^the app 'local' of local runs is disabled: python -m core .* app enable local$"
    ):
        _ensure(tmp_path)


def test_an_expired_key_is_said_to_be_so(tmp_path: Path) -> None:
    _ensure(tmp_path)
    asyncio.run(_change(tmp_path, expired=True))
    with pytest.raises(Failure, match=r"^the app key of local runs has expired: remove .*keys.json for a new one$"):
        _ensure(tmp_path)


def test_a_store_that_is_none_is_one_clear_line(tmp_path: Path) -> None:
    (tmp_path / "store.sqlite3").write_bytes(b"no database" * 1000)
    with pytest.raises(Failure, match=r"store.sqlite3 cannot be used: .*: move that file away, or choose another"):
        _ensure(tmp_path)
