"""Trefoil behind a REST API, as the AWS emulator plays it: events of format 1.0 in, streams out, nothing changed."""

from __future__ import annotations

import asyncio
import base64
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any
from urllib.parse import parse_qs

import httpx2
import openai
import pytest

from aws_emulator_process import emulator
from core.admin import Admin
from core.sqlite_store import SqliteStore
from local import offline_upstream
from local.staging import stage


@dataclass
class Behind:
    """Trefoil at `url`, `http` with an app's key for it, and `upstream` behind it."""

    url: str
    upstream: str
    http: httpx2.Client

    def arrived(self) -> dict[str, Any]:
        """The last request that upstream received."""
        last: dict[str, Any] = httpx2.get(f"{self.upstream}/offline/requests").json()[-1]
        return last


@pytest.fixture(scope="module")
def behind(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Behind]:
    folder = tmp_path_factory.mktemp("rest_api")
    store = SqliteStore(folder / "store.sqlite3")
    key = asyncio.run(Admin(store).new_key("test"))
    store.close()
    with offline_upstream.running() as upstream, pytest.MonkeyPatch.context() as patch:
        patch.setenv("OPENAI_API_KEY", "sk-test")
        patch.setenv("TREFOIL_STORE", f"sqlite:{folder / 'store.sqlite3'}")
        patch.setenv("TREFOIL_UPSTREAM_URL", f"{upstream}/v1")
        with (
            emulator(stage("aws", folder / "task"), folder / "log", "--rest-api") as running,
            httpx2.Client(headers={"authorization": f"Bearer {key}"}, timeout=30) as http,
        ):
            yield Behind(f"http://127.0.0.1:{running.port}", upstream, http)


def test_a_chat_is_streamed_chunk_by_chunk(behind: Behind) -> None:
    """Upstream sends a chunk only when the one before it has reached the client."""
    key = behind.http.headers["authorization"].removeprefix("Bearer ")
    messages: Any = [{"role": "user", "content": "naïve 漢字 \N{FOUR LEAF CLOVER}"}]
    with openai.OpenAI(base_url=f"{behind.url}/v1", api_key=key, max_retries=0) as client:
        stream = client.chat.completions.create(model="offline;gate=rest", messages=messages, stream=True)
        received = [next(stream)]
        for _ in range(3):
            httpx2.post(f"{behind.upstream}/offline/gates/rest")
            received.append(next(stream))
        httpx2.post(f"{behind.upstream}/offline/gates/rest?n=1000")
        received.extend(stream)

    text = "".join(chunk.choices[0].delta.content or "" for chunk in received if chunk.choices)
    assert "\N{FOUR LEAF CLOVER}" in text


def test_odd_characters_and_repeats_go_up_as_they_came(behind: Behind) -> None:
    target = "/v1/models/ft%3Aa%2Fb%20%C3%A9?x%5B%5D=1&y=%26%3D+%2B%25%F0%9F%8D%80&x%5B%5D=2&empty="
    behind.http.get(behind.url + target)

    arrived = behind.arrived()
    assert arrived["path"] == "/v1/models/ft%3Aa%2Fb%20%C3%A9"
    assert parse_qs(arrived["query"], keep_blank_values=True) == {
        "x[]": ["1", "2"],
        "y": ["&= +%\N{FOUR LEAF CLOVER}"],
        "empty": [""],
    }


def test_every_byte_of_a_form_goes_up(behind: Behind) -> None:
    content = bytes(range(256)) * 64
    head = (
        b'--x\r\nContent-Disposition: form-data; name="model"\r\n\r\nwhisper-1\r\n'
        b'--x\r\nContent-Disposition: form-data; name="file"; filename="a.wav"\r\n\r\n'
    )
    behind.http.post(
        f"{behind.url}/v1/audio/transcriptions",
        content=head + content + b"\r\n--x--\r\n",
        headers={"content-type": "multipart/form-data; boundary=x"},
    )

    assert content in base64.b64decode(behind.arrived()["body_base64"])


def test_an_error_is_openais(behind: Behind) -> None:
    answer = behind.http.post(f"{behind.url}/v1/chat/completions", content=b"{")

    assert answer.status_code == 400
    assert answer.json()["error"]["type"] == "invalid_request_error"
