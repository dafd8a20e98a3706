"""A process of the service, for tests of what many of them spend together: it calls gateways of its own, and tells on
standard output each step that it takes towards a budget, so that nothing of it is lost when it is killed.

    overspend_worker.py MODULE SETTING

It serves commands, a JSON object in a line each, with threads that have an event loop, a store and a gateway each.
"""

from __future__ import annotations

import asyncio
import importlib
import json
import os
import sys
import threading
import time
from collections import Counter
from collections.abc import AsyncIterator, Coroutine, Mapping, Sequence
from contextlib import aclosing
from contextvars import ContextVar
from typing import Any

from core import errors
from core.gateway import Gateway
from core.http import Request, Response
from core.ledger import Ledger
from core.ledger_item import RESERVATION
from core.ports import App, Change, Key, Outcome, Store, Value
from core.settings import Settings
from core.usage import Usage
from core.windows import TOTAL

_THREADS = 2
_CALL: ContextVar[str] = ContextVar("call")


def tell(event: str, **fields: object) -> None:
    """One line, which is out when this returns. Its time is on a clock that all processes of the machine share."""
    line = json.dumps({"event": event, "at": time.monotonic_ns(), **fields}) + "\n"
    os.write(1, line.encode())


class TellingStore:
    """A store whose reservations and settlements are told before and after they are made."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._reserved: dict[str, int] = {}

    async def add_within(self, key: Key, change: Change, *, expires_at: int | None = None) -> Outcome:
        money = change.amounts.get(TOTAL, 0)
        if change.mark is not None and change.mark[0].startswith(RESERVATION):
            self._reserved[change.mark[0]] = money
            fields = {"call": _CALL.get(None), "reservation": change.mark[0].removeprefix(RESERVATION)}
            tell("reserving", **fields, nano_usd=money)
            outcome = await self._store.add_within(key, change, expires_at=expires_at)
            tell("reserved" if outcome.done else "refused", **fields, over=outcome.over)
            return outcome
        if change.unmark is not None and change.unmark in self._reserved:
            final = self._reserved[change.unmark] + money
            reservation = change.unmark.removeprefix(RESERVATION)
            tell("settling", reservation=reservation, nano_usd=final)
            outcome = await self._store.add_within(key, change, expires_at=expires_at)
            tell("settled", reservation=reservation, done=outcome.done)
            return outcome
        return await self._store.add_within(key, change, expires_at=expires_at)

    async def get(self, key: Key) -> Value | None:
        return await self._store.get(key)

    async def put(self, key: Key, value: Value, *, if_absent: bool = False, expires_at: int | None = None) -> bool:
        return await self._store.put(key, value, if_absent=if_absent, expires_at=expires_at)

    def list(self, partition: str) -> AsyncIterator[tuple[str, Value]]:
        return self._store.list(partition)

    async def delete(self, key: Key) -> bool:
        return await self._store.delete(key)


class _Lane:
    """A thread with an event loop, and with a store and a gateway of its own."""

    def __init__(self, module: str, setting: str) -> None:
        self._loop = asyncio.new_event_loop()
        threading.Thread(target=self._loop.run_forever, daemon=True).start()
        store: Store = importlib.import_module(module).open_store(setting, os.environ)
        self._store = TellingStore(store)
        self._gateway: Gateway | None = None

    def start(self, work: Coroutine[Any, Any, None]) -> Any:
        return asyncio.run_coroutine_threadsafe(work, self._loop)

    async def run(self, command: Mapping[str, Any], calls: Sequence[Mapping[str, Any]]) -> None:
        if self._gateway is not None:
            await self._gateway.close()
        gateway = self._gateway = Gateway(Settings.load({**os.environ, **command["environ"]}), self._store)
        room = asyncio.Semaphore(command["at_once"])

        async def one(call: Mapping[str, Any]) -> None:
            async with room:
                await _call(gateway, command["key"], call)

        await asyncio.gather(*map(one, calls))

    async def count(self, command: Mapping[str, Any]) -> None:
        """Reserve as often as told at one moment of one minute; every other reservation is settled in full."""
        ledger = Ledger(self._store, clock=lambda: command["now"])
        app, tokens = App.model_validate(command["app"]), command["tokens"]
        counted: Counter[str] = Counter()

        async def one(number: int) -> None:
            try:
                reservation = await ledger.reserve(app, "chat.completions.create", "m", tokens=tokens, nano_usd=0)
            except (errors.RequestsLimited, errors.TokensLimited) as error:
                counted[error.type] += 1
                return
            counted["granted"] += 1
            if number % 2:
                await ledger.settle(reservation, Usage(input_tokens=tokens), 0)

        await asyncio.gather(*(one(number) for number in range(command["tries"])))
        tell("counted", **counted)


async def _call(gateway: Gateway, key: str, call: Mapping[str, Any]) -> None:
    _CALL.set(call["id"])
    tell("began", call=call["id"])
    content = {
        "model": call["model"],
        "messages": [{"role": "user", "content": json.dumps(call)}],
        "max_completion_tokens": call["most"],
        "stream": call["stream"],
    }
    headers = {"authorization": f"Bearer {key}", "content-type": "application/json"}
    request = Request("POST", "/v1/chat/completions", headers=headers, body=json.dumps(content).encode())
    try:
        async with asyncio.timeout(call["leaves_after_seconds"]):
            response = await gateway.handle(request)
            code = await _read(response, call["leaves_after_events"])
    except TimeoutError:
        tell("ended", call=call["id"], status=0, code="left")
    else:
        tell("ended", call=call["id"], status=response.status, code=code)


async def _read(response: Response, most_events: int | None) -> str | None:
    """The error's code, if the answer is one."""
    if isinstance(response.body, bytes):
        return None if response.status < 400 else json.loads(response.body)["error"]["code"]
    seen = 0
    async with aclosing(response.body) as events:
        async for _ in events:
            seen += 1
            if seen == most_events:
                return "left"
    return None


def main() -> None:
    module, setting = sys.argv[1:]
    lanes = [_Lane(module, setting) for _ in range(_THREADS)]
    tell("ready")
    for line in sys.stdin:
        command = json.loads(line)
        if command["do"] == "run":
            calls = command["calls"]
            work = [lane.start(lane.run(command, calls[n::_THREADS])) for n, lane in enumerate(lanes)]
        else:
            work = [lane.start(lane.count(command)) for lane in lanes]
        for one in work:
            one.result()
        tell("done")


if __name__ == "__main__":
    main()
