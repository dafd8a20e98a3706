"""The offline upstream as its tests use it: started, and asked by the real client or by plain HTTP."""

from __future__ import annotations

import contextlib
import http.client
import json
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import quote, urlsplit

import openai

from local.offline_upstream import running

_HELLO: dict[str, Any] = {"role": "user", "content": "Grüß dich, 世界"}


@dataclass(frozen=True)
class Answer:
    """What plain HTTP sees."""

    status: int
    headers: dict[str, str]
    body: bytes

    @property
    def json(self) -> Any:
        """The body, parsed."""
        return json.loads(self.body)


@dataclass(frozen=True)
class Upstream:
    """The server under test: its origin, and both ways of asking it."""

    origin: str
    client: openai.OpenAI = field(repr=False)

    @classmethod
    @contextlib.contextmanager
    def started(cls, *, strict: bool = True) -> Iterator[Upstream]:
        """Running for as long as the block; a strict client refuses what OpenAI's types do not describe."""
        with running() as origin:
            options: dict[str, Any] = {"max_retries": 0, "timeout": 15, "_strict_response_validation": strict}
            with openai.OpenAI(base_url=f"{origin}/v1", api_key="k", **options) as client:
                yield cls(origin, client)

    def ask(self, method: str, path: str, body: object = None, **headers: str) -> Answer:
        """One request by plain HTTP, on a connection of its own; underscores in header names stand for hyphens."""
        connection = http.client.HTTPConnection(urlsplit(self.origin).netloc, timeout=15)
        sent = body if isinstance(body, bytes | None) else json.dumps(body).encode()
        named = {name.replace("_", "-"): value for name, value in {"authorization": "Bearer k", **headers}.items()}
        try:
            connection.request(method, path, sent, named)
            response = connection.getresponse()
            return Answer(response.status, dict(response.getheaders()), response.read())
        finally:
            connection.close()

    def chat(self, model: str, **headers: str) -> Answer:
        """A chat request by plain HTTP."""
        return self.ask("POST", "/v1/chat/completions", {"model": model, "messages": [_HELLO]}, **headers)

    def events(self, method: str, path: str, body: object = None) -> list[dict[str, Any]]:
        """The data of a stream's events; each event is named by its type."""
        events = []
        for block in self.ask(method, path, body).body.decode().removesuffix("\n\n").split("\n\n"):
            name, data = block.split("\n")
            events.append(json.loads(data.removeprefix("data: ")))
            assert name == f"event: {events[-1]['type']}"
        return events

    def open_gate(self, name: str, count: int = 1) -> None:
        """Let so many chunks through."""
        assert self.ask("POST", f"/offline/gates/{name}?n={count}").json == {"gate": name, "opened": count}

    def arrival(self, model: str) -> dict[str, Any]:
        """The log's entry of the first request for this model, when it has come."""
        return dict(self.ask("GET", f"/offline/arrivals/{quote(model, safe='')}").json)

    def ended(self, model: str) -> dict[str, Any]:
        """The same when it has ended."""
        return dict(self.ask("GET", f"/offline/requests/{self.arrival(model)['sequence']}/outcome").json)
