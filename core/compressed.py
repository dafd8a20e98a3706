"""An upstream's answer that came compressed although nobody asked for it."""

from __future__ import annotations

import zlib
from collections.abc import AsyncIterator

from core.http_connection import CutOff, HttpAnswer

_CODINGS = frozenset({"gzip", "x-gzip", "deflate"})
_EITHER_FORMAT = zlib.MAX_WBITS | 32


def is_compressed(answer: HttpAnswer) -> bool:
    """Whether it is, in a way that is understood here."""
    return answer.headers.get("content-encoding", "").strip().lower() in _CODINGS


class Decompressed:
    """The answer inside."""

    def __init__(self, answer: HttpAnswer) -> None:
        self.status = answer.status
        self.headers = answer.headers
        self._answer = answer
        self._inside = zlib.decompressobj(_EITHER_FORMAT)
        self._is_empty = True

    def __aiter__(self) -> AsyncIterator[bytes]:
        return self

    async def __anext__(self) -> bytes:
        while True:
            try:
                chunk = await anext(self._answer)
            except StopAsyncIteration:
                self._look_at_end()
                raise
            if content := self._decompressed(chunk):
                return content

    async def read(self) -> bytes:
        content = self._decompressed(await self._answer.read())
        self._look_at_end()
        return content

    async def aclose(self) -> None:
        await self._answer.aclose()

    def _look_at_end(self) -> None:
        if not self._inside.eof and not self._is_empty:
            raise CutOff("compressed, without its end")

    def _decompressed(self, chunk: bytes) -> bytes:
        self._is_empty = self._is_empty and not chunk
        try:
            return self._inside.decompress(chunk)
        except zlib.error:
            raise CutOff("not compressed as it says") from None
