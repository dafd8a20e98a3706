"""`python -m local`: what it shows, what it says when something is wrong, and that nothing of it stays behind."""

from __future__ import annotations

import json
import os
import re
import signal
import socket
import subprocess
import sys
import time
import uuid
from collections.abc import Iterator
from pathlib import Path

import httpx2
import pytest

from core import app_keys
from local.running import free_port_base
from local.services import CLOUDS, TITLES
from local.staging import REPOSITORY
from local_deployment import LocalDeployment, start

_MARK = "MARK_OF_THIS_TEST"
_GONE_SECONDS = 10
needs_proc = pytest.mark.skipif(sys.platform != "linux", reason="finds orphans through /proc, which only Linux has")


@pytest.fixture
def state(tmp_path: Path) -> list[str]:
    return ["--state", str(tmp_path / "state"), "--model", "gpt-4o-mini;pace=0"]


def _run(*options: str, environ: dict[str, str] | None = None, port_base: int | None = None) -> tuple[int, str]:
    process = start(options, port_base=port_base or free_port_base(4), environ=environ)
    output, _ = process.communicate(timeout=90)
    return process.returncode, output


def _wait_for_line(deployment: LocalDeployment, text: str) -> str:
    """All that the deployment has written, once it has written `text`."""
    end = time.monotonic() + 30
    while text not in (output := deployment.log.read_text("utf-8")):
        assert time.monotonic() < end, output
        time.sleep(0.05)
    return output


def test_once_shows_an_answer_from_each_cloud(state: list[str]) -> None:
    code, output = _run("--once", *state)
    assert code == 0, output
    assert "whose answers are canned" in output
    for cloud in CLOUDS:
        assert f"{cloud} answers after" in output
        assert re.search(rf"{TITLES[cloud]}: .*canned answer.*漢字", output)
    assert len(re.findall(r"first of \d\d chunks after \d+ ms", output)) == 3
    assert "Traceback" not in output


def test_one_cloud_alone(state: list[str]) -> None:
    code, output = _run("--once", "--cloud", "gcp", *state)
    assert code == 0, output
    assert "aws" not in output
    assert "azure" not in output


def test_what_it_prints_can_be_pasted(tmp_path: Path, deployment: LocalDeployment) -> None:
    """The curl line and the five lines of Python, as they stand."""
    output = _wait_for_line(deployment, "Ctrl-C stops everything")
    for cloud in CLOUDS:
        block = output[output.index(f"\n{TITLES[cloud]}\n  export") :]
        exports = "\n".join(re.findall(r"^  (export .*)$", block, re.MULTILINE)[:2])
        (curl, *_) = re.findall(r"^  (curl .*)$", block, re.MULTILINE)
        streamed = subprocess.run(
            ["sh", "-c", f"{exports}\n{curl} -sS"], capture_output=True, text=True, check=True
        ).stdout
        assert streamed.endswith("data: [DONE]\n\n")
        python = block[block.index("  from openai") :].split("\n")[:5]
        program = "\n".join(line.removeprefix("  ") for line in python)
        answer = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True).stdout
        assert "canned answer" in answer


def test_the_description_for_scripts(deployment: LocalDeployment) -> None:
    assert set(deployment.base_urls) == set(CLOUDS)
    assert app_keys.is_well_formed(deployment.app_key)
    assert deployment.admin_key not in ("", deployment.app_key)
    for url in deployment.base_urls.values():
        assert httpx2.get(url.removesuffix("/v1") + "/healthz").json() == {"status": "ok"}
    modes = {file.name: file.stat().st_mode & 0o777 for file in deployment.state.glob("*.json")}
    assert modes == {"keys.json": 0o600}


def test_the_servers_themselves_say_nothing(deployment: LocalDeployment) -> None:
    _wait_for_line(deployment, "Ctrl-C stops everything")
    for url in map(httpx2.URL, deployment.base_urls.values()):
        with socket.create_connection((url.host, url.port or 0), timeout=20) as connection:
            connection.sendall(b"nonsense\r\n\r\n")
            assert connection.recv(65536).startswith(b"HTTP/1.1 400 ")
        httpx2.get(url.copy_with(path=f"/after-nonsense-{url.port}"))
        # Every request is a line: what was said before it has been written as well.
        output = _wait_for_line(deployment, f"/after-nonsense-{url.port}")
    assert not re.search(r"\b(gunicorn|uvicorn)\b|Invalid HTTP", output)


def test_keys_stay_the_same_from_run_to_run(state: list[str], tmp_path: Path) -> None:
    keys = []
    for number in (1, 2):
        file = tmp_path / f"{number}.json"
        code, output = _run("--once", "--cloud", "gcp", "--json", str(file), *state)
        assert code == 0, output
        assert file.stat().st_mode & 0o777 == 0o600
        keys.append(json.loads(file.read_text())["app_key"])
    assert keys[0] == keys[1]


def test_a_sample_call_that_fails(state: list[str]) -> None:
    code, output = _run(*state, "--once", "--cloud", "gcp", "--model", "gpt-nope")
    assert code == 1
    assert re.search(r"^trefoil: gcp did not answer the sample chat: Error code: 404", output, re.MULTILINE)
    assert "Traceback" not in output


@pytest.mark.parametrize("offset", range(4))
def test_a_taken_port(state: list[str], tmp_path: Path, offset: int) -> None:
    base = free_port_base(4)
    with socket.create_server(("127.0.0.1", base + offset)):
        code, output = _run("--once", *state, port_base=base)
    assert code == 1
    assert "starting" not in output
    assert [file.name for file in (tmp_path / "state").iterdir()] == ["run.lock"]  # nothing was staged
    assert re.search(
        rf"^trefoil: port {base + offset}, meant for \w+, is taken: stop what listens", output, re.MULTILINE
    )
    assert "Traceback" not in output


def test_a_missing_tool(state: list[str], tmp_path: Path) -> None:
    code, output = _run("--once", "--func", *state, environ={"PATH": str(tmp_path)})
    assert code == 1
    assert re.search(r"^trefoil: Azure Functions Core Tools are not installed", output, re.MULTILINE)
    assert "Traceback" not in output


@pytest.mark.parametrize("cloud", ["aws", "azure"])
def test_a_child_that_cannot_start(state: list[str], cloud: str) -> None:
    """The reason that the child gave is the reason that is given, as soon as it is known."""
    began = time.monotonic()
    code, output = _run("--once", "--upstream", "ftp://nowhere", "--cloud", cloud, *state)
    assert code == 1
    assert re.search(rf"^trefoil: {cloud} stopped with exit code 1: .*TREFOIL_UPSTREAM_URL", output, re.MULTILINE)
    assert time.monotonic() - began < 15  # where it was tried again and again, it took 60 s


def test_a_wrong_settings_file_stops_the_start(state: list[str], tmp_path: Path) -> None:
    environ = {"TREFOIL_CONFIG": str(tmp_path / "nowhere.toml")}
    code, output = _run("--once", "--cloud", "aws", *state, environ=environ)
    assert code == 1
    assert re.search(r"^trefoil: aws stopped with exit code 1: .*TREFOIL_CONFIG: .*nowhere.toml", output, re.MULTILINE)


def test_a_file_that_cannot_be_written_stops_it_before_it_starts(state: list[str], tmp_path: Path) -> None:
    code, output = _run("--once", "--json", str(tmp_path), *state)
    assert code == 1
    assert output == f"trefoil: --json: {tmp_path} cannot be written (Is a directory): name another file\n"


def test_a_proxy_is_not_asked_for_what_is_on_this_machine_nor_unicode_of_the_terminal(state: list[str]) -> None:
    nobody = "http://127.0.0.1:1"
    environ = {"HTTP_PROXY": nobody, "http_proxy": nobody, "ALL_PROXY": nobody, "PYTHONIOENCODING": "ascii"}
    code, output = _run("--once", "--cloud", "aws", *state, environ=environ)
    assert code == 0, output
    assert "na?ve caf? ? ?? ?" in output


@needs_proc
def test_nobody_reading_what_it_says_stops_it_without_a_word(state: list[str]) -> None:
    mark = uuid.uuid4().hex
    process = start([*state, "--cloud", "gcp"], port_base=free_port_base(4), environ={_MARK: mark})
    assert process.stdout
    process.stdout.readline()
    process.stdout.close()
    assert process.wait(30) == 1
    _assert_all_gone(mark)


def test_ctrl_c_in_the_middle_of_an_import_leaves_no_traceback() -> None:
    """Python tells of each import when it is done."""
    command = [sys.executable, "-X", "importtime", "-m", "local", "--once"]
    with subprocess.Popen(command, cwd=REPOSITORY, stderr=subprocess.PIPE, text=True) as process:
        assert process.stderr
        said = ""
        for line in process.stderr:
            said += line
            if line.endswith(" argparse\n"):
                process.send_signal(signal.SIGINT)
    assert process.returncode == -signal.SIGINT
    assert "Traceback" not in said


def test_help_does_not_wait_for_what_it_does_not_need() -> None:
    command = [sys.executable, "-X", "importtime", "-m", "local", "--help"]
    said = subprocess.run(command, cwd=REPOSITORY, capture_output=True, text=True, check=True)
    assert "usage: python -m local" in said.stdout
    assert not re.search(r"\| +(openai|pydantic|asyncio|core)$", said.stderr, re.MULTILINE)


@pytest.mark.parametrize(
    ("options", "key", "said"),
    [
        ([], "sk-real", "the upstream is OpenAI (https://api.openai.com/v1), for OPENAI_API_KEY is set"),
        (
            ["--upstream", "http://127.0.0.1:1/v1"],
            "sk-real",
            "the upstream is http://127.0.0.1:1/v1, called with your OPENAI_API_KEY",
        ),
        (
            ["--upstream", "http://127.0.0.1:1/v1"],
            "",
            "the upstream is http://127.0.0.1:1/v1, called with a placeholder key",
        ),
        pytest.param([], app_keys.generate(), "one of Trefoil's own app keys", id="an app key"),
    ],
)
def test_which_upstream_is_said_first(state: list[str], options: list[str], key: str, said: str) -> None:
    base = free_port_base(4)
    with socket.create_server(("127.0.0.1", base + 3)):  # so that it stops before it calls anybody
        _, output = _run(*options, *state, "--cloud", "gcp", port_base=base, environ={"OPENAI_API_KEY": key})
    assert output.startswith((said, f"OPENAI_API_KEY holds {said}", f"{said}: the calls are real"))
    assert not key or key not in output


@pytest.mark.parametrize("option", [["--port-base", "x"], ["--port-base", "70000"], ["--cloud", "ibm"], ["--nope"]])
def test_options_that_make_no_sense(option: list[str]) -> None:
    code, output = _run(*option)
    assert code == 2
    assert "usage: python -m local" in output


def _marked(mark: str) -> set[int]:
    """The processes that run with this mark in their environment."""
    found = set()
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            if f"{_MARK}={mark}".encode() in (folder / "environ").read_bytes().split(b"\0"):
                found.add(int(folder.name))
        except OSError:
            pass
    return found


Up = tuple[subprocess.Popen[str], str, Path]


@pytest.fixture
def up(request: pytest.FixtureRequest, state: list[str], tmp_path: Path) -> Iterator[Up]:
    """A deployment of the parameter's clouds that is up, the mark that all its processes carry, and its log."""
    mark, log = uuid.uuid4().hex, tmp_path / "log.txt"
    clouds = [option for cloud in request.param for option in ("--cloud", cloud)]
    with log.open("w") as output:
        process = start([*state, *clouds], port_base=free_port_base(4), environ={_MARK: mark}, stdout=output)
        try:
            end = time.monotonic() + 90
            while "Ctrl-C stops everything" not in log.read_text("utf-8") and time.monotonic() < end:
                assert process.poll() is None, log.read_text("utf-8")
                time.sleep(0.1)
            yield process, mark, log
        finally:
            for pid in _marked(mark):
                os.kill(pid, signal.SIGKILL)
            process.wait()


def _assert_all_gone(mark: str) -> None:
    end = time.monotonic() + _GONE_SECONDS
    while _marked(mark) and time.monotonic() < end:
        time.sleep(0.05)
    assert _marked(mark) == set()


@needs_proc
@pytest.mark.parametrize(
    ("up", "number", "processes"),
    [
        (("aws",), signal.SIGINT, 4),  # the launcher, upstream, the emulator and a sandbox
        (("gcp",), signal.SIGHUP, 4),  # the launcher, upstream, gunicorn and its worker
        (CLOUDS, signal.SIGTERM, 7),
    ],
    indirect=["up"],
    ids=["SIGINT", "SIGHUP", "SIGTERM"],
)
def test_a_signal_stops_every_process(up: Up, number: signal.Signals, processes: int) -> None:
    process, mark, log = up
    assert len(_marked(mark)) == processes
    process.send_signal(number)
    assert process.wait(30) == 0
    assert "Traceback" not in log.read_text("utf-8")
    _assert_all_gone(mark)


@needs_proc
@pytest.mark.parametrize("up", [CLOUDS], indirect=True, ids=["all"])
def test_being_killed_it_takes_its_children_along(up: Up) -> None:
    process, mark, _ = up
    process.kill()
    _assert_all_gone(mark)


@needs_proc
def test_a_signal_while_it_starts_stops_every_process(state: list[str]) -> None:
    mark = uuid.uuid4().hex
    process = start(state, port_base=free_port_base(4), environ={_MARK: mark})
    assert process.stdout
    for line in process.stdout:
        if line.startswith("starting gcp"):
            break
    process.terminate()
    process.communicate(timeout=30)
    assert process.returncode == 0
    _assert_all_gone(mark)


@needs_proc
@pytest.mark.parametrize("up", [("azure",)], indirect=True, ids=["azure"])
def test_a_child_that_crashes_ends_it_with_one_line(up: Up) -> None:
    process, mark, log = up
    (child,) = [pid for pid in _marked(mark) if b"local.azure_host" in Path(f"/proc/{pid}/cmdline").read_bytes()]
    os.kill(child, signal.SIGKILL)
    assert process.wait(30) == 1
    assert re.search(r"^trefoil: azure stopped with exit code -9", log.read_text("utf-8"), re.MULTILINE)
    _assert_all_gone(mark)


def test_make_passes_options_on(state: list[str]) -> None:
    """`make run ARGS=...` is what the README says; here without the set-up, whose stamp is there."""
    dry = subprocess.run(
        ["make", "-n", "run", f"ARGS=--once {' '.join(state)}"],
        cwd=REPOSITORY,
        capture_output=True,
        text=True,
        check=True,
    )
    assert f"-m local --once {' '.join(state)}" in dry.stdout
