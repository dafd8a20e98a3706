"""Real clients, as their users write them, through each cloud: only the base URL and the key differ from OpenAI's."""

from __future__ import annotations

import asyncio
import json
import os
import shutil
import subprocess
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import openai
import pytest
from langchain_core.tools import tool
from langchain_openai import ChatOpenAI
from pydantic import BaseModel, SecretStr
from pydantic_ai import Agent
from pydantic_ai.models.openai import OpenAIChatModel
from pydantic_ai.providers.openai import OpenAIProvider

from core.admin import Admin
from core.sqlite_store import SqliteStore
from local.services import CLOUDS
from local.staging import REPOSITORY
from local_deployment import LocalDeployment

_MODEL = "offline;pace=0"
_NODE_MODULES = REPOSITORY / ".trefoil" / "node" / "node_modules"
_GREETING: Any = [{"role": "user", "content": "naïve 漢字 🍀"}]
_WEATHER: Any = {
    "type": "function",
    "function": {
        "name": "get_weather",
        "parameters": {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]},
    },
}


class Recipe(BaseModel):
    title: str
    minutes: int
    steps: list[str]


@pytest.fixture(params=CLOUDS)
def base_url(request: pytest.FixtureRequest, deployment: LocalDeployment) -> str:
    return deployment.base_urls[request.param]


@pytest.fixture
def client(base_url: str, deployment: LocalDeployment) -> Iterator[openai.OpenAI]:
    with openai.OpenAI(base_url=base_url, api_key=deployment.app_key, max_retries=0, timeout=30) as client:
        yield client


class TestOpenAIPython:
    def test_a_chat(self, client: openai.OpenAI) -> None:
        completion = client.chat.completions.create(model=_MODEL, messages=_GREETING)
        assert "naïve 漢字 🍀" in (completion.choices[0].message.content or "")
        assert completion.usage is not None
        assert completion.usage.total_tokens > 0
        assert completion._request_id

    def test_a_stream(self, client: openai.OpenAI) -> None:
        chunks = list(
            client.chat.completions.create(
                model=_MODEL, messages=_GREETING, stream=True, stream_options={"include_usage": True}
            )
        )
        text = "".join(chunk.choices[0].delta.content or "" for chunk in chunks if chunk.choices)
        assert "naïve 漢字 🍀" in text
        assert chunks[-1].usage is not None

    def test_the_streaming_helper(self, client: openai.OpenAI) -> None:
        with client.chat.completions.stream(model=_MODEL, messages=_GREETING, tools=[_WEATHER]) as stream:
            kinds = {event.type for event in stream}
            final = stream.get_final_completion()
        assert {"chunk", "content.delta", "content.done"} <= kinds
        assert final.choices[0].finish_reason == "stop"

    def test_tool_calls(self, client: openai.OpenAI) -> None:
        completion = client.chat.completions.create(
            model=_MODEL, messages=_GREETING, tools=[_WEATHER], tool_choice="required"
        )
        (call,) = completion.choices[0].message.tool_calls or []
        assert call.type == "function"
        assert set(json.loads(call.function.arguments)) == {"city"}

    def test_parse_with_a_pydantic_model(self, client: openai.OpenAI) -> None:
        completion = client.chat.completions.parse(model=_MODEL, messages=_GREETING, response_format=Recipe)
        assert isinstance(completion.choices[0].message.parsed, Recipe)

    def test_the_raw_response(self, client: openai.OpenAI) -> None:
        raw = client.chat.completions.with_raw_response.create(model=_MODEL, messages=_GREETING)
        assert raw.http_response.headers["openai-processing-ms"]
        assert not [name for name in raw.headers if name.startswith("x-ratelimit-") or name == "set-cookie"]
        assert raw.parse().object == "chat.completion"

    def test_models(self, client: openai.OpenAI) -> None:
        assert "gpt-4o-mini" in {model.id for model in client.models.list()}
        assert client.models.retrieve("gpt-4o").id == "gpt-4o"
        with pytest.raises(openai.NotFoundError):
            client.models.retrieve("nope")

    @pytest.mark.parametrize(
        ("model", "raised"),
        [
            ("offline;status=400", openai.BadRequestError),
            ("offline;status=404", openai.NotFoundError),
            ("offline;status=409", openai.ConflictError),
            ("offline;status=422", openai.UnprocessableEntityError),
            ("offline;status=429;retry-after=7", openai.RateLimitError),
            ("offline;status=500", openai.InternalServerError),
            ("offline;status=401", openai.InternalServerError),  # the operator's key was refused, not the client's
        ],
    )
    def test_upstream_s_errors(self, client: openai.OpenAI, model: str, raised: type[openai.APIStatusError]) -> None:
        with pytest.raises(raised) as caught:
            client.chat.completions.create(model=model, messages=_GREETING)
        if raised is openai.RateLimitError:
            assert caught.value.response.headers["retry-after"] == "7"

    def test_a_wrong_key(self, base_url: str) -> None:
        with (
            openai.OpenAI(base_url=base_url, api_key="sk-wrong", max_retries=0) as client,
            pytest.raises(openai.AuthenticationError),
        ):
            client.models.list()

    def test_its_retries_work(self, client: openai.OpenAI, request: pytest.FixtureRequest) -> None:
        model = f"offline;status=503;times=2;tag={request.node.name}"
        completion = client.with_options(max_retries=2).chat.completions.create(model=model, messages=_GREETING)
        assert completion.choices

    @pytest.mark.anyio
    async def test_many_at_once(self, base_url: str, deployment: LocalDeployment) -> None:
        async with openai.AsyncOpenAI(base_url=base_url, api_key=deployment.app_key, max_retries=0) as client:

            async def one(number: int) -> bool:
                text = ""
                async for chunk in await client.chat.completions.create(
                    model=_MODEL, messages=[{"role": "user", "content": f"number {number};"}], stream=True
                ):
                    text += chunk.choices[0].delta.content or ""
                return f"number {number};" in text

            assert all(await asyncio.gather(*(one(number) for number in range(20))))


class TestLangChain:
    @pytest.fixture
    def chat(self, base_url: str, deployment: LocalDeployment) -> ChatOpenAI:
        return ChatOpenAI(base_url=base_url, api_key=SecretStr(deployment.app_key), model=_MODEL, max_retries=0)

    def test_invoke_and_stream(self, chat: ChatOpenAI) -> None:
        assert "漢字" in str(chat.invoke("漢字").content)
        assert "漢字" in "".join(str(chunk.content) for chunk in chat.stream("漢字"))

    def test_tools(self, chat: ChatOpenAI) -> None:
        @tool
        def get_weather(city: str) -> str:
            """The weather in a city."""
            return city

        message = chat.bind_tools([get_weather], tool_choice="required").invoke("Paris?")
        assert [call["name"] for call in message.tool_calls] == ["get_weather"]

    def test_structured_output(self, chat: ChatOpenAI) -> None:
        assert isinstance(chat.with_structured_output(Recipe).invoke("soup"), Recipe)


@pytest.mark.anyio
async def test_pydantic_ai(base_url: str, deployment: LocalDeployment) -> None:
    async with openai.AsyncOpenAI(base_url=base_url, api_key=deployment.app_key, max_retries=0) as client:
        model = OpenAIChatModel(_MODEL, provider=OpenAIProvider(openai_client=client))
        result = await Agent(model, output_type=Recipe).run("soup")
    assert isinstance(result.output, Recipe)


@pytest.mark.skipif(shutil.which("curl") is None, reason="needs curl, from your system's package manager")
def test_curl(base_url: str, deployment: LocalDeployment) -> None:
    body = json.dumps({"model": _MODEL, "messages": _GREETING, "stream": True})
    command = ["curl", "-sSN", f"{base_url}/chat/completions", "-H", f"authorization: bearer {deployment.app_key}"]
    output = subprocess.run([*command, "-d", body], capture_output=True, check=True).stdout
    assert output.startswith(b"data: {")
    assert output.endswith(b"data: [DONE]\n\n")


@pytest.mark.skipif(
    shutil.which("node") is None or not _NODE_MODULES.is_dir(),
    reason="needs Node.js and OpenAI's client for it: install Node.js 20 or later, then run 'make node'",
)
def test_openai_node(base_url: str, deployment: LocalDeployment) -> None:
    environ = {**os.environ, "OPENAI_BASE_URL": base_url, "OPENAI_API_KEY": deployment.app_key}
    script = Path(__file__).with_name("openai_node.mjs").read_text("utf-8")
    result = subprocess.run(  # noqa: PLW1510 - its own words say more than its exit code
        ["node", "--input-type=module", "-"],
        input=script,
        cwd=_NODE_MODULES.parent,
        env=environ,
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert result.returncode == 0, result.stderr
    assert result.stdout.strip() == "ok"


def test_three_clouds_at_once(deployment: LocalDeployment) -> None:
    """A key that was just made in the store that they share works on all of them."""

    async def make() -> str:
        store = SqliteStore(deployment.state / "store.sqlite3")
        try:
            return await Admin(store).new_key("new-app")
        finally:
            store.close()

    key = asyncio.run(make())

    def ask(cloud: str) -> str:
        with openai.OpenAI(base_url=deployment.base_urls[cloud], api_key=key, max_retries=0) as client:
            return str(client.chat.completions.create(model=_MODEL, messages=_GREETING).choices[0].message.content)

    with ThreadPoolExecutor(12) as pool:
        assert all("漢字" in answer for answer in pool.map(ask, CLOUDS * 4))
