"""Which app a stored object belongs to.

OpenAI keeps the objects of all apps in the operator's one account. Here they are kept apart: what an app made is
recorded, and what is not recorded as the app's own does not exist for it.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import replace
from http import HTTPStatus

from core import errors, logs, made
from core.endpoints import OBJECTS_IN_PATHS, Endpoint
from core.http import Response
from core.kinds import Kind
from core.ports import App, Key, Store, StoreError, Value
from core.references import Reference
from core.schemas import Call
from core.upstream import TARGET_HEADER

_LOOKED_UP_AT_ONCE = 20
_LONGEST_ID = 256
_SECONDS_PER_DAY = 86_400
_LIFETIME_SECONDS: Mapping[Kind, int] = {
    # OpenAI keeps these for 30 days: https://platform.openai.com/docs/guides/your-data
    Kind.RESPONSE: 31 * _SECONDS_PER_DAY,
    Kind.CHAT_COMPLETION: 31 * _SECONDS_PER_DAY,
    Kind.AUDIO: 31 * _SECONDS_PER_DAY,
    Kind.ITEM: 31 * _SECONDS_PER_DAY,
}
"""How long the record of an object is kept where OpenAI forgets the object by itself."""


class Objects:
    """The records of who made what."""

    def __init__(self, store: Store, *, clock: Callable[[], float] = time.time) -> None:
        self._store = store
        self._clock = clock

    async def check(self, app: App, names: Mapping[str, str], references: Iterable[Reference]) -> str | None:
        """Let a request pass that refers to nothing but the app's own objects, in its path and in its body.

        Returns the upstream that has them, by its name in the settings; None where it refers to none.

        Raises:
            NotFound: it refers to another one; whether that exists makes no difference.
        """
        in_path = [
            Reference(OBJECTS_IN_PATHS[name], value, name) for name, value in names.items() if name in OBJECTS_IN_PATHS
        ]
        wanted = [*in_path, *references]
        upstream: str | None = None
        for at in range(0, len(wanted), _LOOKED_UP_AT_ONCE):
            some = wanted[at : at + _LOOKED_UP_AT_ONCE]
            for reference, record in zip(
                some, await asyncio.gather(*(self._find(app, one) for one in some)), strict=True
            ):
                if record is None:
                    raise errors.NotFound(
                        f"There is no {reference.kind.noun} with the id '{reference.id[:_LONGEST_ID]}'.",
                        param=reference.param,
                    )
                upstream = upstream or record["upstream"]
                if record["upstream"] != upstream:
                    raise errors.InvalidRequest(
                        "The objects that this request refers to lie with different upstreams.", param=reference.param
                    )
        return upstream

    async def settle(
        self, app: App, endpoint: Endpoint, names: Mapping[str, str], call: Call, response: Response
    ) -> Response:
        """`response`, once what it made is recorded and what it deleted is forgotten: an id that a client learns works.

        A stream is read on its way.
        """
        if endpoint.deletes is not None:
            if response.status < HTTPStatus.BAD_REQUEST:
                await self.forget(app, endpoint.deletes, [*names.values()][-1])
        elif response.status < HTTPStatus.BAD_REQUEST and made.may_tell(endpoint, call):
            if not isinstance(response.body, bytes):
                return replace(response, body=_LearningStream(self, app, endpoint, call, response))
            told = made.in_answer(endpoint, response.body, stored=call.store)
            await self.learn(app, told, upstream=response.headers.get(TARGET_HEADER))
        return response

    async def learn(self, app: App, objects: Iterable[made.Made], *, upstream: str | None) -> None:
        """Record that `objects`, which `upstream` has, are the app's.

        A store that fails takes nothing from the client: the answer was paid for. The loss is logged with all that it
        takes to record it later.
        """
        new = list(dict.fromkeys(objects))
        results = await asyncio.gather(*(self._record(app, one, upstream) for one in new), return_exceptions=True)
        for one, result in zip(new, results, strict=True):
            if isinstance(result, StoreError):
                logs.write(
                    logging.ERROR, "object_not_recorded", app=app.id, kind=one.kind, id=one.id, error=str(result)
                )
            elif result is not None:
                raise result

    async def _find(self, app: App, reference: Reference) -> Value | None:
        if len(reference.id) > _LONGEST_ID:
            return None
        return await self._store.get(_key(app, reference.kind, reference.id))

    async def _record(self, app: App, one: made.Made, upstream: str | None) -> None:
        now, lifetime = self._clock(), _LIFETIME_SECONDS.get(one.kind)
        await self._store.put(
            _key(app, one.kind, one.id),
            {"created_at_ns": int(now * 1e9), "upstream": upstream},
            # What was recorded first keeps its place in lists.
            if_absent=True,
            expires_at=None if lifetime is None else int(now) + lifetime,
        )

    async def forget(self, app: App, kind: Kind, object_id: str) -> None:
        await self._store.delete(_key(app, kind, object_id))

    async def all_of(self, app: App, kind: Kind) -> Mapping[str, str | None]:
        """The ids of the app's objects of a kind, in the order in which they were recorded, each with its upstream."""
        records = [record async for record in self._store.list(_partition(app, kind))]
        records.sort(key=lambda record: (record[1]["created_at_ns"], record[0]))
        return {object_id: value["upstream"] for object_id, value in records}


class _LearningStream:
    """A stream whose events are read for what they tell before they go on."""

    def __init__(self, objects: Objects, app: App, endpoint: Endpoint, call: Call, response: Response) -> None:
        assert not isinstance(response.body, bytes)
        self._objects = objects
        self._app = app
        self._endpoint = endpoint
        self._call = call
        self._upstream = response.headers.get(TARGET_HEADER)
        self._stream = response.body
        self._first = True

    def __aiter__(self) -> _LearningStream:
        return self

    async def __anext__(self) -> bytes:
        events = await anext(self._stream)
        told = made.in_events(self._endpoint, events, first=self._first, stored=self._call.store)
        self._first = self._first and b"data:" not in events  # what keeps a connection alive is no event
        await self._objects.learn(self._app, told, upstream=self._upstream)
        return events

    async def aclose(self) -> None:
        await self._stream.aclose()


def _partition(app: App, kind: Kind) -> str:
    return f"apps/{app.id}/objects/{kind}"


def _key(app: App, kind: Kind, object_id: str) -> Key:
    return Key(_partition(app, kind), object_id)
