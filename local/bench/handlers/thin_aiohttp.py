"""The thinnest proxy on aiohttp, server and client: no key, no check, no log.   thin_aiohttp.py PORT"""

from __future__ import annotations

import os
import sys
from collections.abc import AsyncIterator

import uvloop
from aiohttp import ClientSession, TCPConnector, web  # type: ignore[import-not-found] # installed on demand

_SESSION = web.AppKey("session", ClientSession)


async def _session(app: web.Application) -> AsyncIterator[None]:
    async with ClientSession(connector=TCPConnector(limit=0)) as session:
        app[_SESSION] = session
        yield


async def _pass(request: web.Request) -> web.StreamResponse:
    headers = {"authorization": f"Bearer {os.environ['OPENAI_API_KEY']}", "content-type": "application/json"}
    url = os.environ["OPENAI_BASE_URL"] + request.path.removeprefix("/v1")
    async with request.app[_SESSION].post(url, data=await request.read(), headers=headers) as answer:
        response = web.StreamResponse(status=answer.status, headers={"content-type": answer.headers["content-type"]})
        if answer.content_length is not None:
            response.content_length = answer.content_length
        await response.prepare(request)
        async for chunk in answer.content.iter_any():
            await response.write(chunk)
        await response.write_eof()
        return response


def _app() -> web.Application:
    app = web.Application()
    app.cleanup_ctx.append(_session)
    app.router.add_post("/{path:.*}", _pass)
    return app


if __name__ == "__main__":
    uvloop.install()
    web.run_app(_app(), host="127.0.0.1", port=int(sys.argv[1]), access_log=None, print=None)
