"""docs/operating.md: each of its commands is run, in its order, and has to say what the page says."""

from __future__ import annotations

import asyncio
import os
import re
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from pathlib import Path

import manage_service
from core.admin import Admin
from core.ledger import Ledger
from core.sqlite_store import SqliteStore
from core.usage import Usage
from local.staging import REPOSITORY
from manage_client import ADMIN_KEY

_PAGE = (REPOSITORY / "docs" / "operating.md").read_text("utf-8")
_ID = re.compile(r"\b(?:[0-9a-f]{16}|[0-9a-f]{12})\b")
_CHANGING = [
    (_ID, "ID"),
    (re.compile(r"tfl_[0-9A-Za-z]{38}|tfl_\.\.\.[0-9A-Za-z]*"), "KEY"),
    (re.compile(r"\d{4}-\d\d-\d\d( \d\d:\d\d)?"), "TIME"),
    (re.compile(r"\b1,2\d\d(?= +chat)"), "AGE"),
    (re.compile(r" +"), " "),
]


def _commands() -> Iterator[tuple[str, str]]:
    """Each command, and what it prints."""
    for block in re.findall(r"```console\n(.*?)```", _PAGE, re.DOTALL):
        for part in re.split(r"^\$ ", block, flags=re.MULTILINE)[1:]:
            command, _, output = part.partition("\n")
            yield command, output


def _steady(text: str) -> str:
    """Text without what is another each time."""
    for pattern, name in _CHANGING:
        text = pattern.sub(name, text)
    return "\n".join(line.strip() for line in text.splitlines())


async def _use(store_file: Path) -> None:
    """What the page's app has used, and a reservation of a process that died twenty minutes ago."""
    store = SqliteStore(store_file)
    app = await Admin(store).app("web-shop")
    ledger, chat = Ledger(store), "chat.completions.create"
    for model, usage, nano_usd in [
        ("gpt-4o", Usage(input_tokens=1200, cached_input_tokens=200, output_tokens=300), 5_800_000),
        ("gpt-4o-mini", Usage(input_tokens=1000, output_tokens=100), 210_000),
    ]:
        reservation = await ledger.reserve(app, chat, model, tokens=2000, nano_usd=20_000_000)
        await ledger.settle(reservation, usage, nano_usd)
    past = Ledger(store, clock=lambda: time.time() - 1200)
    await past.reserve(app, chat, "gpt-4o", tokens=2000, nano_usd=20_000_000)
    store.close()


def _run(command: str, environ: Mapping[str, str], folder: Path) -> str:
    ended = subprocess.run(
        ["bash", "-c", command],
        cwd=folder,
        env={**environ, "PYTHONPATH": str(REPOSITORY), "PATH": f"{Path(sys.executable).parent}:{environ['PATH']}"},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
    )
    assert ended.returncode == 0, (command, ended.stdout)
    return ended.stdout


def test_every_command_says_what_the_page_says(tmp_path: Path) -> None:
    store_file, ids = tmp_path / "store.sqlite3", dict[str, str]()
    environ = {name: value for name, value in os.environ.items() if not name.startswith("TREFOIL_")}
    is_used = False
    with manage_service.running(store_file) as url:
        for written_command, output in _commands():
            command = written_command
            if command.startswith("export "):
                environ |= {"TREFOIL_URL": url, "TREFOIL_ADMIN_KEY": ADMIN_KEY}
                continue
            if " usage " in command and not is_used:
                asyncio.run(_use(store_file))
                is_used = True
            for written, real in ids.items():
                command = command.replace(written, real)
            said = _run(command, environ, tmp_path)
            assert _steady(said) == _steady(output), command
            ids |= dict(zip(_ID.findall(output), _ID.findall(said), strict=True))
    assert '"budget_day_usd": "20.00"' in (tmp_path / "app.json").read_text()
    assert (tmp_path / "usage.csv").read_text().startswith("day,app,requests,")


def test_it_runs_commands() -> None:
    assert len([*_commands()]) > 10
