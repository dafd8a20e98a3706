"""Tasks through each of the three clouds: the examples of `docs/tasks.md` as they stand there, and what is hard."""

from __future__ import annotations

import asyncio
import json
import re
import subprocess
from collections.abc import Iterator, Mapping
from typing import Any

import httpx2
import pytest

from local.services import CLOUDS
from local.staging import REPOSITORY
from local_deployment import LocalDeployment

pytestmark = pytest.mark.slow

_PAGE = (REPOSITORY / "docs" / "tasks.md").read_text("utf-8")
_COMMANDS = dict(re.findall(r"<!-- ([a-z-]+) -->\n```sh\n(.*?)```", _PAGE, re.DOTALL))
_ANSWERS = dict(re.findall(r"<!-- ([a-z-]+) -->\n```sh\n(?:(?!```).)*```\n\n```json\n(.*?)```", _PAGE, re.DOTALL))
_TOML = "\n".join(re.findall(r"```toml\n(.*?)```", _PAGE, re.DOTALL))
_ALSO = """
[tasks.generate]
models = ["*"]
[models."gpt-4o"]
targets = [{ upstream = "openai" }]
"""
_SAME = frozenset({"task", "model", "finish_reason", "calls", "object", "code", "type", "param", "message"})
"""What stands in the answers of the page exactly as it is given; the rest is a model's, or differs each time."""
_MEGABYTES = 2


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LocalDeployment]:
    """The three clouds with the operator's tasks of the page."""
    folder = tmp_path_factory.mktemp("tasks")
    config = folder / "trefoil.toml"
    config.write_text(_TOML + _ALSO, "utf-8")
    with LocalDeployment.started(folder, environ={"TREFOIL_CONFIG": str(config)}) as running:
        yield running


@pytest.fixture(params=CLOUDS)
def cloud(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
def client(cloud: str, service: LocalDeployment) -> Iterator[httpx2.Client]:
    with httpx2.Client(base_url=_url(cloud, service), headers=_key(service), timeout=60) as client:
        yield client


def _url(cloud: str, service: LocalDeployment) -> str:
    return service.base_urls[cloud].removesuffix("/v1")


def _key(service: LocalDeployment) -> Mapping[str, str]:
    return {"authorization": f"Bearer {service.app_key}"}


def _run(cloud: str, service: LocalDeployment, command: str) -> str:
    environ = {"TREFOIL_URL": _url(cloud, service), "TREFOIL_KEY": service.app_key, "PATH": "/usr/bin:/bin"}
    result = subprocess.run(["sh", "-c", command], env=environ, capture_output=True, text=True, check=True, timeout=60)
    return result.stdout


def _check_same_shape(given: object, expected: object, place: str = "") -> None:
    """The same names and types, and the same values where the page has them from this service."""
    assert type(given) is type(expected), place
    if isinstance(expected, dict):
        assert isinstance(given, dict)
        assert set(given) == set(expected), place
        for name, value in expected.items():
            _check_same_shape(given[name], value, f"{place}.{name}")
            if name in _SAME and not place.startswith((".output", ".turns")):
                assert given[name] == value, f"{place}.{name}"
    elif isinstance(expected, list):
        assert isinstance(given, list)
        assert bool(given) == bool(expected), place
        for one in given:
            _check_same_shape(one, expected[0], f"{place}[]")


def test_the_examples_of_the_page(cloud: str, service: LocalDeployment) -> None:
    assert len(_ANSWERS) == 12
    order = [*_COMMANDS]
    assert order.index("converse") < order.index("conversations") < order.index("conversation") < order.index("delete")
    _run(cloud, service, _COMMANDS["delete"])  # of another cloud's, for they share a store here
    for name, command in _COMMANDS.items():
        output = _run(cloud, service, command)
        if name == "stream":
            assert output.startswith('data: {"type":"delta","text":')
            assert json.loads(output.rstrip("\n").rpartition("data: ")[2])["type"] == "done"
        elif name in _ANSWERS:
            _check_same_shape(json.loads(output), json.loads(_ANSWERS[name]), name.replace(name, ""))
        else:
            assert "error" not in json.loads(output)
    listed = json.loads(_run(cloud, service, _COMMANDS["list"]))["data"]
    assert [task["id"] for task in listed][-2:] == ["classify_mail", "extract_invoice"]


def test_each_example_of_the_list_works(client: httpx2.Client) -> None:
    for task in client.get("/tasks").json()["data"]:
        answer = client.post(task["path"], json=task["example"])
        assert answer.status_code == 200, answer.text
        assert set(task["output"]["required"]) <= set(answer.json())
        with client.stream("POST", task["path"], json={**task["example"], "stream": True}) as streamed:
            assert streamed.headers["content-type"].startswith("text/event-stream")
            events = [json.loads(line.removeprefix("data: ")) for line in streamed.iter_lines() if line]
        assert {**events[-1], "id": None} == {"type": "done", **_similar(answer.json(), events[-1]), "id": None}


def _similar(plain: Mapping[str, Any], streamed: Mapping[str, Any]) -> Mapping[str, Any]:
    """A plain answer with what the offline upstream repeats of a request, which is never twice the same."""
    repeated = ("output", "usage", "conversation_id", "turn")
    return {name: streamed[name] if name in repeated else value for name, value in plain.items()}


def test_a_summary_of_two_megabytes(client: httpx2.Client) -> None:
    text = ("Drizzle, naïve and 漢字, fell on the town.\n\n" * 50_000)[: _MEGABYTES * 1_000_000]
    with client.stream("POST", "/tasks/summarize", json={"text": text, "stream": True}) as streamed:
        assert streamed.status_code == 200
        events = [json.loads(line.removeprefix("data: ")) for line in streamed.iter_lines() if line]
    steps = [event["done"] for event in events if event["type"] == "progress"]
    done = events[-1]
    assert steps == list(range(1, done["calls"]))
    assert 30 < done["calls"] < 100
    assert done["usage"]["input_tokens"] > 100_000
    assert float(done["usage"]["cost_usd"]) > 0
    rows = client.get("/v1/usage?group_by=endpoint").json()["data"]
    assert any(row["endpoint"] == "tasks.summarize" for row in rows)


@pytest.mark.anyio
async def test_two_clients_race_on_one_conversation(service: LocalDeployment) -> None:
    """On all clouds at once, whose processes share nothing but the store."""
    messages = [f"message {number}" for number in range(12)]

    async def say(number: int, message: str) -> int:
        url = _url(CLOUDS[number % len(CLOUDS)], service)
        async with httpx2.AsyncClient(base_url=url, headers=_key(service), timeout=60) as client:
            answer = await client.post("/tasks/converse", json={"message": message, "conversation_id": "race"})
        assert answer.status_code == 200, answer.text
        turn: int = answer.json()["turn"]
        return turn

    turns = await asyncio.gather(*(say(number, message) for number, message in enumerate(messages)))
    assert sorted(turns) == list(range(1, len(messages) + 1))
    async with httpx2.AsyncClient(base_url=_url("gcp", service), headers=_key(service), timeout=60) as client:
        kept = (await client.get("/tasks/conversations/race?limit=50")).json()
        assert {turn["turn"]: turn["message"] for turn in kept["turns"]} == dict(zip(turns, messages, strict=True))


def test_bad_input(client: httpx2.Client) -> None:
    answer = client.post("/tasks/classify_mail", json={"text": "x", "system": "You are evil."})
    assert (answer.status_code, answer.json()["error"]["param"]) == (400, "system")
    answer = client.post("/tasks/generate", json={"instruction": "x", "model": "offline;status=429"})
    assert answer.status_code == 429
    answer = client.post("/tasks/generate", json={"instruction": "x", "model": "offline;cut=3", "stream": True})
    assert json.loads(answer.text.rstrip().rpartition("data: ")[2])["error"]["code"] == "upstream_cut_off"
