"""An upstream's answer that came compressed although nobody asked for it."""

from __future__ import annotations

import zlib
from collections.abc import AsyncIterator

from core.http_connection import CutOff, HttpAnswer

CODINGS = frozenset({"gzip", "x-gzip", "deflate"})

_EITHER_FORMAT = zlib.MAX_WBITS | 32


class Decompressed:
    """The answer inside."""

    def __init__(self, answer: HttpAnswer) -> None:
        self.status = answer.status
        self.headers = answer.headers
        self._answer = answer
        self._inside = zlib.decompressobj(_EITHER_FORMAT)

    def __aiter__(self) -> AsyncIterator[bytes]:
        return self

    async def __anext__(self) -> bytes:
        while True:
            try:
                chunk = await anext(self._answer)
            except StopAsyncIteration:
                if not self._inside.eof:
                    raise CutOff("compressed, without its end") from None
                raise
            if content := self._decompressed(chunk):
                return content

    async def read(self) -> bytes:
        content = self._decompressed(await self._answer.read())
        if not self._inside.eof:
            raise CutOff("compressed, without its end")
        return content

    async def aclose(self) -> None:
        await self._answer.aclose()

    def _decompressed(self, chunk: bytes) -> bytes:
        try:
            return self._inside.decompress(chunk)
        except zlib.error:
            raise CutOff("not compressed as it says") from None
