"""The client of one upstream: plain HTTP where a key is all that it takes, the `openai` SDK where it takes more."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping
from typing import Protocol
from urllib.parse import urlsplit

from core.key_client import KeyClient
from core.settings import Settings


class Answer(Protocol):
    """From its head on. Whoever has one reads it to its end, or closes it."""

    status: int
    headers: Mapping[str, str]
    """Lower-case names; repeated ones joined by a comma."""

    def __aiter__(self) -> AsyncIterator[bytes]: ...

    async def __anext__(self) -> bytes:
        """
        Raises:
            HttpError: there is no more, and it is not the end.
        """

    async def read(self) -> bytes:
        """All of it, and then it is closed, even where this raises.

        Raises:
            HttpError: its end does not come.
        """

    async def aclose(self) -> None: ...


class Client(Protocol):
    """It belongs to the event loop that uses it first; making it takes none."""

    async def send(
        self, method: str, path: str, query: str, *, headers: Mapping[str, str], body: bytes, model: str | None
    ) -> Answer:
        """The answer, whatever its status.

        Args:
            path: below the API's root, such as `/chat/completions`.

        Raises:
            HttpError: there is none.
            UpstreamError: there is no credential to ask with.
            InvalidTarget: what the client wrote in the path or query can be no URL.
        """

    async def close(self) -> None: ...


def make(settings: Settings, name: str) -> Client:
    url = settings.upstreams[name].key_url
    if url is not None and not (settings.has_proxies and _goes_through_proxy(url)):
        return KeyClient(settings, name, url)
    from core.openai_client import SdkClient  # noqa: PLC0415 - the SDK takes as long to import as all else together

    return SdkClient(settings, name)


def _goes_through_proxy(url: str) -> bool:
    """Whether the variables that name proxies name one for this URL."""
    from urllib.request import getproxies, proxy_bypass  # noqa: PLC0415 - where there are no proxies, nobody asks

    parts, proxies = urlsplit(url), getproxies()
    return bool({parts.scheme, "all"} & proxies.keys()) and not proxy_bypass(parts.netloc)
