"""`python -m core`: an operator's commands, on the embedded store and on a running service alike."""

from __future__ import annotations

import asyncio
import io
import json
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

import manage_service
from core.__main__ import main
from core.admin import Admin
from core.app_keys import is_well_formed
from core.auth import Authenticator
from core.errors import NotAuthenticated
from core.ledger import Ledger, Reservation
from core.sqlite_store import SqliteStore
from core.usage import Usage
from local.staging import REPOSITORY
from manage_client import ADMIN_KEY


@dataclass(frozen=True)
class Printed:
    """What a command has said."""

    code: int
    out: str
    err: str

    @property
    def json(self) -> Any:
        """Standard output, parsed."""
        return json.loads(self.out)

    @property
    def rows(self) -> list[list[str]]:
        """The lines of a table without its headings, as words."""
        return [line.split() for line in self.out.splitlines()[1:]]


@dataclass(frozen=True)
class CommandLine:
    """A place to run commands on."""

    where: tuple[str, ...]
    store_file: Path
    capsys: pytest.CaptureFixture[str]

    def __call__(self, *arguments: str) -> Printed:
        code = main([*self.where, *arguments])
        printed = self.capsys.readouterr()
        return Printed(code, printed.out, printed.err)

    def done(self, *arguments: str) -> Printed:
        """As a call, of a command that has to succeed."""
        printed = self(*arguments)
        assert printed.code == 0, printed.err
        return printed

    def refused(self, *arguments: str) -> str:
        """The one line that a command says which fails."""
        printed = self(*arguments)
        assert (printed.code, printed.out, printed.err.count("\n")) == (1, "", 1)
        return printed.err

    def app_behind(self, key: str) -> str | None:
        """The app that a key opens."""

        async def identify() -> str | None:
            store = SqliteStore(self.store_file)
            try:
                return (await Authenticator(store, cache_seconds=0).identify({"api-key": key})).id
            except NotAuthenticated:
                return None
            finally:
                store.close()

        return asyncio.run(identify())

    def use(self, app_id: str, nano_usd: int | None) -> str | None:
        """Have an app reserve a thousandth of a dollar, and spend so much of it; None: it stays reserved."""

        async def work() -> Reservation:
            store = SqliteStore(self.store_file)
            ledger = Ledger(store)
            app = await Admin(store).app(app_id)
            reservation = await ledger.reserve(app, "embeddings.create", "m\x1b[2J", tokens=10, nano_usd=1_000_000)
            if nano_usd is not None:
                await ledger.settle(reservation, Usage(input_tokens=1234), nano_usd)
            store.close()
            return reservation

        return asyncio.run(work()).id


@pytest.fixture(params=["embedded", "service"])
def run(
    request: pytest.FixtureRequest,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> Iterator[CommandLine]:
    store_file = tmp_path / "store.sqlite3"
    monkeypatch.setenv("TREFOIL_ADMIN_KEY", ADMIN_KEY)
    # None of these may lead a call to this machine astray.
    monkeypatch.setenv("http_proxy", "http://127.0.0.1:9")
    monkeypatch.delenv("TREFOIL_URL", raising=False)
    is_service = request.param == "service"
    with manage_service.running(store_file) if is_service else nullcontext("") as url:
        yield CommandLine(("--url", url) if is_service else ("--store", str(store_file)), store_file, capsys)


def test_a_key_s_life(run: CommandLine) -> None:
    new = run.done("key", "new", "--app", "web-shop", "--label", "for CI")
    key = new.out.strip()
    assert is_well_formed(key)
    assert "only time" in new.err
    assert run.app_behind(key) == "web-shop"

    listing = run.done("key", "list")
    [[key_id, app, shown, created, *state]] = listing.rows
    assert (app, shown, state) == ("web-shop", f"tfl_...{key[-4:]}", ["enabled", "-", "for", "CI"])
    assert re.fullmatch(r"\d{4}-\d\d-\d\d", created)
    assert key not in listing.out

    for verb, expected in [("disable", None), ("enable", "web-shop"), ("revoke", None), ("enable", "web-shop")]:
        assert "notices within 30 seconds" in run.done("key", verb, key_id).err
        assert run.app_behind(key) == expected
    assert run.done("key", "delete", key_id, "--app", "web-shop", "--yes").out == ""
    assert run.app_behind(key) is None
    empty = run.done("key", "list")
    assert (empty.out, empty.err) == ("", "There are none.\n")


def test_a_key_is_rotated(run: CommandLine) -> None:
    old = run.done("key", "new", "--app", "web-shop", "--days", "30", "--json").json
    rotated = run.done("key", "rotate", old["id"], "--overlap", "12h")
    new = rotated.out.strip()
    assert re.search(r"The old key ends at \d{4}-\d\d-\d\d \d\d:\d\d UTC", rotated.err)
    assert {run.app_behind(new), run.app_behind(old["key"])} == {"web-shop"}
    run.done("key", "rotate", old["id"], "--overlap", "0s", "--days", "1")
    assert (run.app_behind(new), run.app_behind(old["key"])) == ("web-shop", None)
    states = {row[0]: row[4] for row in run.done("key", "list", "--app", "web-shop").rows}
    assert sorted(states.values()) == ["enabled", "enabled", "expired"]
    assert states[old["id"]] == "expired"


def test_an_app_s_limits(run: CommandLine) -> None:
    created = run.done("app", "create", "web-shop", "--budget-month-usd", "250", "--shards", "2", "--json").json
    assert (created["limits"]["budget_month_usd"], created["limits"]["shards"]) == ("250.00", 2)
    run.done(
        *("app", "set", "web-shop", "--requests-per-minute", "6000", "--models", "gpt-4o*", "o3"),
        *("--endpoints", "chat.completions.*", "--origin", "https://shop.example", "--budget-day-usd", "0.000001"),
    )
    shown = run.done("app", "show", "web-shop").out
    assert dict(re.split(r"  +", line) for line in shown.splitlines()) == {
        "app": "web-shop",
        "state": "enabled",
        "created": shown.split("created", 1)[1].split()[0],
        "version": "2",
        "requests per minute": "6,000",
        "tokens per minute": "-",
        "budget day usd": "0.000001",
        "budget month usd": "250.00",
        "budget total usd": "-",
        "models": "gpt-4o* o3",
        "endpoints": "chat.completions.*",
        "max output tokens": "-",
        "shards": "2",
        "origins": "https://shop.example",
    }
    [row] = run.done("app", "list").rows
    assert [row[0], row[1], *row[3:]] == ["web-shop", "enabled", "6,000", "-", "0.000001", "250.00", "-"]
    cleared = run.done(
        *("app", "set", "web-shop", "--requests-per-minute", "none", "--models", "none", "--json"),
        *("--origin", "none", "--budget-day-usd", "none", "--if-version", "2"),
    ).json
    assert (cleared["limits"]["requests_per_minute"], cleared["limits"]["models"]) == (None, None)
    assert (cleared["limits"]["budget_day_usd"], cleared["origins"]) == (None, None)
    assert cleared["limits"]["budget_month_usd"] == "250.00"
    assert "it has version 3 now" in run.refused("app", "set", "web-shop", "--shards", "1", "--if-version", "2")
    assert "disable the app" in run.refused("app", "set", "web-shop", "--shards", "1")


def test_an_app_is_disabled_with_its_keys_and_deleted(run: CommandLine) -> None:
    key = run.done("key", "new", "--app", "web-shop").out.strip()
    assert run.done("app", "disable", "web-shop", "--json").json["enabled"] is False
    assert run.app_behind(key) is None
    assert run.done("app", "list").rows[0][1] == "disabled"
    run.done("app", "enable", "web-shop")
    assert run.app_behind(key) == "web-shop"
    assert "The app 'web-shop' is deleted." in run.done("app", "delete", "web-shop", "--yes").err
    assert run.app_behind(key) is None
    assert run.done("app", "list", "--json").json == []
    assert "was deleted a short while ago" in run.refused("key", "new", "--app", "web-shop")


def test_usage(run: CommandLine) -> None:
    run.done("app", "create", "web-shop", "--budget-total-usd", "1")
    run.done("app", "create", "intranet")
    run.use("web-shop", 900)
    run.use("intranet", 100)
    table = run.done("usage")
    assert re.split(r"  +", table.out.splitlines()[0]) == [
        *("APP", "REQUESTS", "INPUT TOKENS", "OF THEM CACHED", "OUTPUT TOKENS", "COST (USD)")
    ]
    assert table.rows == [
        ["intranet", "1", "1,234", "0", "0", "0.0000001"],
        ["web-shop", "1", "1,234", "0", "0", "0.0000009"],
        ["in", "all", "2", "2,468", "0", "0", "0.000001"],
    ]
    own = run.done("usage", "--app", "web-shop", "--by", "model,endpoint").out
    assert "\x1b" not in own  # what a client calls a model must not move an operator's cursor
    assert "m?[2J" in own
    assert re.search(r"^total +1\.00 +0\.0000009 +0\.00 +0\.9999991 +-$", own, re.MULTILINE)
    assert run.done("usage", "--json", "--from", "2026-11-01", "--to", "2026-11-02").json["data"] == []
    assert run.done("usage", "--csv", "--by", "app").out.splitlines() == [
        "app,requests,input_tokens,cached_input_tokens,output_tokens,cost_usd",
        "intranet,1,1234,0,0,0.0000001",
        "web-shop,1,1234,0,0,0.0000009",
    ]


def test_reservations(run: CommandLine) -> None:
    run.done("app", "create", "web-shop", "--budget-total-usd", "1")
    ids = [str(run.use("web-shop", None)) for _ in range(2)]
    rows = run.done("reservation", "list").rows
    assert sorted((row[0], row[1], row[-1]) for row in rows) == [(one, "web-shop", "0.001") for one in sorted(ids)]
    assert "may still be at work" in run.refused("reservation", "release", ids[0], "--refund", "--yes")
    refund = run.done("reservation", "release", ids[0], "--refund", "--force", "--yes")
    assert refund.err == "'web-shop' has 0.001 USD back.\n"
    charge = run.done("reservation", "release", ids[1], "--charge", "--force", "--yes", "--app", "web-shop")
    assert charge.err == "0.001 USD are charged to 'web-shop'.\n"
    assert run.done("reservation", "list", "--json").json == []
    assert run.done("usage", "--app", "web-shop", "--json").json["budgets"]["total"]["spent_usd"] == "0.001"


def test_settlements_are_made_from_a_log(run: CommandLine, monkeypatch: pytest.MonkeyPatch) -> None:
    run.done("app", "create", "web-shop", "--budget-total-usd", "1")
    log = []
    for is_made in (False, True):
        reserved = run.use("web-shop", None)
        event = {"severity": "ERROR", "event": "settlement_postponed", "app": "web-shop", "shard": 0, "id": reserved}
        event |= {"amounts": {"all": -400_000}, "unmark": f"r/{reserved}"}
        log += [f"2026-11-25T18:00:00Z {json.dumps(event)} trailing", json.dumps({"jsonPayload": event})]
        if is_made:
            log.append(json.dumps({"severity": "INFO", "event": "settlement_made", "app": "web-shop", "id": reserved}))
    unmarked: dict[str, Any] = {
        "severity": "ERROR",
        "event": "settlement_postponed",
        "id": None,
        "amounts": {},
        "unmark": None,
    }
    log += [json.dumps(unmarked), "{", "[]", "", json.dumps({"severity": "INFO", "event": "request"})]
    for made in (1, 0):
        monkeypatch.setattr(sys, "stdin", io.StringIO("\n".join(log)))
        told = run.done("settlement", "replay", "--json").json
        assert told == {"made": made, "were_made_before": 1 - made, "cannot_be": 1, "not_understood": 0}
    [still] = run.done("reservation", "list", "--json").json
    assert still["id"] == reserved


def test_settlements_of_a_deleted_app_do_not_stop_the_rest(run: CommandLine, monkeypatch: pytest.MonkeyPatch) -> None:
    run.done("app", "create", "web-shop", "--budget-total-usd", "1")
    lines = []
    for app_id, reserved in (("gone", "0123456789abcdef"), ("web-shop", run.use("web-shop", None))):
        event = {"severity": "ERROR", "event": "settlement_postponed", "app": app_id, "shard": 0, "id": reserved}
        lines.append(json.dumps(event | {"amounts": {"all": -400_000}, "unmark": f"r/{reserved}"}))
    monkeypatch.setattr(sys, "stdin", io.StringIO("\n".join(lines)))
    told = run.done("settlement", "replay", "--json").json
    assert told == {"made": 1, "were_made_before": 0, "cannot_be": 1, "not_understood": 0}
    assert run.done("reservation", "list", "--json").json == []


def test_a_log_that_is_not_understood_is_a_1(run: CommandLine, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "stdin", io.StringIO("event=settlement_postponed app=web-shop\n" * 2))
    printed = run("settlement", "replay", "--json")
    assert (printed.code, printed.json["not_understood"]) == (1, 2)
    assert printed.err.startswith("trefoil: 2 mentions of settlement_postponed were not understood")
    assert printed.err.count("\n") == 1


def test_a_new_app_is_not_made_without_a_word(run: CommandLine) -> None:
    said = "The app 'web-shop' is new, and has no limits.\n"
    assert said in run.done("key", "new", "--app", "web-shop").err
    assert said not in run.done("key", "new", "--app", "web-shop").err


def test_version_0_is_a_version(run: CommandLine) -> None:
    run.done("app", "create", "web-shop")
    assert "it has version 1 now" in run.refused("app", "set", "web-shop", "--models", "o3", "--if-version", "0")


def test_a_young_reservation_s_refusal_names_the_option(run: CommandLine) -> None:
    run.done("app", "create", "web-shop", "--budget-total-usd", "1")
    refusal = run.refused("reservation", "release", str(run.use("web-shop", None)), "--refund", "--yes")
    assert "or add --force." in refusal


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["key", "new", "--app", "Web Shop"], "'Web Shop' cannot be an app's name"),
        (["key", "new", "--app", "../x"], "cannot be an app's name"),
        (["key", "new", "--app", "web-shop", "--days", "0"], "Invalid 'lifetime_seconds'"),
        (["key", "disable", "nope"], "There is no key with the id 'nope'"),
        (["key", "list", "--app", "nope"], "There is no app 'nope'"),
        (["app", "disable", "nope"], "There is no app 'nope'"),
        (["app", "create", "local"], "There is an app 'local' already"),
        (["app", "set", "local"], "Nothing to change"),
        (["app", "set", "local", "--origin", "a.example/path"], "Invalid 'origins[0]': write an origin"),
        (["app", "set", "local", "--budget-day-usd", "5 dollars"], "Invalid 'limits.budget_day_usd': write US dollars"),
        (["app", "set", "local", "--endpoints", "chat"], "the nearest are chat.completions.create"),
        (["app", "delete", "local"], "nobody is there to ask: add --yes"),
        (["usage", "--by", "hour"], "Invalid 'group_by'"),
        (["reservation", "release", "x", "--refund"], "There is no standing reservation 'x'"),
    ],
)
def test_a_mistake_is_one_clear_line(run: CommandLine, arguments: list[str], said: str) -> None:
    run.done("app", "create", "local")
    assert said in run.refused(*arguments)


@pytest.mark.parametrize(
    "arguments",
    [
        [],
        ["app"],
        ["key", "new"],
        ["app", "set", "x", "--requests-per-minute", "many"],
        ["app", "show", ""],
        ["key", "list", "--app", ""],
        ["key", "rotate", "x", "--overlap", "1 day"],
        ["reservation", "release", "x"],
        ["--url", "http://127.0.0.1", "--store", "file", "app", "list"],
    ],
)
def test_a_command_that_is_none_is_a_2(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        main(arguments)
    assert ended.value.code == 2
    assert "usage: python -m core" in capsys.readouterr().err


class _Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


@pytest.mark.parametrize(("answer", "is_deleted"), [("y\n", True), ("YES\n", True), ("n\n", False), ("", False)])
def test_who_sits_at_a_terminal_is_asked(
    run: CommandLine, monkeypatch: pytest.MonkeyPatch, answer: str, is_deleted: bool
) -> None:
    run.done("app", "create", "web-shop")
    monkeypatch.setattr(sys, "stdin", _Terminal(answer))
    printed = run("app", "delete", "web-shop")
    assert printed.err.startswith("Delete the app 'web-shop', its keys, its usage and all that is kept of it? [y/N] ")
    assert printed.code == (0 if is_deleted else 1)
    assert run.done("app", "list", "--json").json == [] if is_deleted else "Nothing was done." in printed.err


def test_a_store_that_cannot_be_opened(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--store", str(tmp_path), "key", "list"]) == 1
    assert "cannot be used" in capsys.readouterr().err


def test_what_is_no_number_is_said_in_words(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        main(["app", "set", "x", "--requests-per-minute", "many"])
    assert "'many' is no number: write such as 60, or none" in capsys.readouterr().err


def _environ(environ: dict[str, str]) -> dict[str, str]:
    return {name: value for name, value in os.environ.items() if not name.startswith("TREFOIL_")} | environ


def _command(environ: dict[str, str], *arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "core", *arguments],
        cwd=REPOSITORY,
        env=_environ(environ),
        capture_output=True,
        text=True,
        check=False,
    )


def test_as_a_process_on_a_running_service(tmp_path: Path) -> None:
    with manage_service.running(tmp_path / "store.sqlite3") as url:
        environ = {"TREFOIL_URL": f"{url}/v1/", "TREFOIL_ADMIN_KEY": ADMIN_KEY}
        new = _command(environ, "key", "new", "--app", "web-shop")
        assert (new.returncode, is_well_formed(new.stdout.removesuffix("\n"))) == (0, True)
        listed = _command({"TREFOIL_STORE": f"sqlite:{tmp_path}/store.sqlite3"}, "key", "list", "--json")
        assert [key["hint"] for key in json.loads(listed.stdout)] == [new.stdout.strip()[-4:]]


def test_of_several_processes_one_makes_a_change(tmp_path: Path) -> None:
    environ = {"TREFOIL_STORE": f"sqlite:{tmp_path}/store.sqlite3"}
    assert _command(environ, "app", "create", "web-shop").returncode == 0

    def change(number: int) -> subprocess.CompletedProcess[str]:
        return _command(
            environ, "app", "set", "web-shop", "--requests-per-minute", f"{number}", "--if-version", "1", "--json"
        )

    with ThreadPoolExecutor(4) as pool:
        ended = [*pool.map(change, range(1, 5))]
    assert sorted(one.returncode for one in ended) == [0, 1, 1, 1]
    [won] = [number for number, one in enumerate(ended, 1) if one.returncode == 0]
    shown = json.loads(_command(environ, "app", "show", "web-shop", "--json").stdout)
    assert (shown["version"], shown["limits"]["requests_per_minute"]) == (2, won)


@pytest.mark.parametrize(
    ("environ", "said"),
    [
        ({"TREFOIL_URL": "https://trefoil.invalid"}, "TREFOIL_ADMIN_KEY is not set"),
        ({"TREFOIL_URL": "http://trefoil.invalid", "TREFOIL_ADMIN_KEY": "k"}, "would carry the admin key in the clear"),
        ({"TREFOIL_URL": "trefoil.invalid", "TREFOIL_ADMIN_KEY": "k"}, "is no URL of a service"),
        ({"TREFOIL_URL": "http://127.0.0.1:9", "TREFOIL_ADMIN_KEY": "k"}, "http://127.0.0.1:9 cannot be reached: "),
        ({"TREFOIL_URL": "http://[bad", "TREFOIL_ADMIN_KEY": "k"}, "'http://[bad' is no URL of a service"),
        ({"TREFOIL_URL": f"https://{'a' * 64}.example", "TREFOIL_ADMIN_KEY": "k"}, "cannot be reached: "),
        ({"TREFOIL_STORE": "dynamodb:trefoil"}, "TREFOIL_STORE names no embedded store: set TREFOIL_URL"),
        ({"TREFOIL_ADMIN_KEY": "k"}, "set TREFOIL_URL to the URL of the service, or give --store FILE"),
    ],
)
def test_what_stands_in_the_environment_is_checked(environ: dict[str, str], said: str) -> None:
    ended = _command(environ, "app", "list")
    assert (ended.returncode, ended.stdout, ended.stderr.count("\n")) == (1, "", 1)
    assert said in ended.stderr


@pytest.mark.parametrize(
    ("served", "given", "said"),
    [
        (ADMIN_KEY, "a-key-that-is-none", "Incorrect admin key provided"),
        (None, ADMIN_KEY, "There is no admin API at this URL"),
    ],
)
def test_a_key_that_does_not_fit(
    served: str | None,
    given: str,
    said: str,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("TREFOIL_ADMIN_KEY", given)
    with manage_service.running(tmp_path / "store.sqlite3", admin_key=served) as url:
        assert main(["--url", url, "app", "list"]) == 1
    printed = capsys.readouterr().err
    assert said in printed
    assert given not in printed


def _shell(store_file: Path, script: str, **environ: str) -> subprocess.CompletedProcess[str]:
    """A script in which `$core` is the command line on a store."""
    core = f"{sys.executable} -m core --store {store_file}"
    return subprocess.run(
        ["bash", "-c", script],
        cwd=REPOSITORY,
        env=_environ({"core": core, **environ}),
        capture_output=True,
        text=True,
        check=False,
    )


@pytest.mark.parametrize(
    ("script", "code", "said"),
    [
        ("$core settlement replay <&-", 1, "trefoil: Standard input is closed"),
        ("$core app delete web-shop <&-", 1, "trefoil: This cannot be undone, and nobody is there to ask"),
        ("$core app list --json > /dev/full", 1, "No space left on device"),
        ("$core app list --json >&-", 1, "trefoil: Standard output is closed"),
    ],
)
def test_what_cannot_be_read_or_written_is_one_clear_line(tmp_path: Path, script: str, code: int, said: str) -> None:
    store_file = tmp_path / "store.sqlite3"
    assert main(["--store", str(store_file), "app", "create", "web-shop"]) == 0
    ended = _shell(store_file, script)
    assert (ended.returncode, ended.stdout, ended.stderr.count("\n")) == (code, "", 1)
    assert said in ended.stderr


def test_a_reader_that_leaves_gets_no_traceback(tmp_path: Path) -> None:
    reading, writing = os.pipe()
    os.close(reading)
    ended = subprocess.run(
        [sys.executable, "-m", "core", "--store", str(tmp_path / "store.sqlite3"), "app", "list", "--json"],
        cwd=REPOSITORY,
        env=_environ({}),
        stdout=writing,
        stderr=subprocess.PIPE,
        check=False,
    )
    os.close(writing)
    assert (ended.returncode, ended.stderr) == (141, b"")


class _Interrupted(io.StringIO):
    def read(self, size: int | None = -1) -> str:
        raise KeyboardInterrupt


def test_who_interrupts_gets_no_traceback(run: CommandLine, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "stdin", _Interrupted())
    assert run("settlement", "replay") == Printed(130, "", "")


def test_characters_that_the_output_does_not_have(tmp_path: Path) -> None:
    ascii_only = {"PYTHONIOENCODING": "ascii"}
    store_file = tmp_path / "store.sqlite3"
    assert main(["--store", str(store_file), "key", "new", "--app", "web-shop", "--label", "für 😀"]) == 0
    shown = _shell(store_file, "$core key list", **ascii_only)
    assert (shown.returncode, shown.stderr) == (0, "")
    assert "f\\xfcr" in shown.stdout
    [key] = json.loads(_shell(store_file, "$core key list --json", **ascii_only).stdout)
    assert key["label"] == "für 😀"
    replayed = _shell(store_file, r"printf '\xff\n' | $core settlement replay", PYTHONIOENCODING="utf-8")
    assert (replayed.returncode, replayed.stderr) == (0, "")
