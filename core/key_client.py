"""The client of an upstream that asks for a key and nothing else."""

from __future__ import annotations

from collections.abc import Mapping

from core.compressed import Decompressed, is_compressed
from core.http_client import HttpClient, target_of
from core.http_connection import HttpAnswer
from core.settings import Settings
from core.upstream_settings import OpenAIUpstream


class KeyClient:
    """A `Client` that sends what it is given, with the key as a bearer token, over connections that stay open."""

    def __init__(self, settings: Settings, name: str, url: str) -> None:
        upstream = settings.upstreams[name]
        self._http = HttpClient(
            url, connect_seconds=upstream.connect_timeout_seconds, silence_seconds=upstream.silence_timeout_seconds
        )
        self._headers = {
            "accept": "application/json",
            "accept-encoding": "identity",  # what is not compressed can be passed on as it comes
            "user-agent": "Trefoil",
        }
        if name in settings.keys:
            self._headers["authorization"] = f"Bearer {settings.keys[name].get_secret_value()}"
        if isinstance(upstream, OpenAIUpstream):
            account = {"openai-organization": upstream.organization, "openai-project": upstream.project}
            self._headers.update({header: value for header, value in account.items() if value})

    async def send(
        self, method: str, path: str, query: str, *, headers: Mapping[str, str], body: bytes, model: str | None
    ) -> HttpAnswer | Decompressed:
        sent = {**self._headers, **headers}
        content = None if method == "GET" or (not body and method != "POST") else body
        if method != "GET":  # of a DELETE without a body, too: so do OpenAI's own clients
            sent.setdefault("content-type", "application/json")
        answer = await self._http.send(method, target_of(path, query), sent, content)
        return Decompressed(answer) if is_compressed(answer) else answer

    async def close(self) -> None:
        await self._http.close()
