"""Reading, listing and deleting the conversations that `converse` keeps."""

from __future__ import annotations

import re
from collections.abc import Mapping
from http import HTTPStatus
from typing import Any
from urllib.parse import parse_qsl

from pydantic_core import to_json

from core import conversations, errors
from core.conversations import Conversation, Conversations, Turn
from core.endpoints import Endpoint
from core.http import Request, Response
from core.ports import App
from core.task_input import LONGEST_USER

_JSON = {"content-type": "application/json"}
_DEFAULT_PAGE = 20
_LONGEST_PAGE = 100
_NUMBER = re.compile(r"[1-9][0-9]{0,8}")


class ConversationCalls:
    """Answers the rows `tasks.conversations.*`."""

    def __init__(self, all_of_them: Conversations) -> None:
        self._conversations = all_of_them

    async def answer(self, app: App, endpoint: Endpoint, names: Mapping[str, str], request: Request) -> Response:
        """
        Raises:
            NotFound: there is no such conversation with this user.
            InvalidRequest: a parameter makes no sense.
            StoreError: the store cannot be asked.
        """
        if endpoint.name == "tasks.conversations.list":
            query = _query(request, "user", "limit", "after")
            return _answer(await self._list(app, query))
        reads = endpoint.name == "tasks.conversations.retrieve"
        query = _query(request, "user", *(("limit", "before") if reads else ()))
        one = await self._conversations.find(app, names["conversation"], query.get("user"))
        if one is None:
            raise conversations.not_found(names["conversation"][:100])
        if reads:
            return _answer(await self._read(app, one, query))
        await self._conversations.delete(app, one)
        return _answer({"id": one.id, "object": "task.conversation.deleted", "deleted": True})

    async def _list(self, app: App, query: Mapping[str, str]) -> Mapping[str, Any]:
        found = await self._conversations.all_of(app, query.get("user"))
        start = 0
        if "after" in query:
            places = [place for place, one in enumerate(found, 1) if one.id == query["after"]]
            if not places:
                raise conversations.not_found(query["after"][:100])
            start = places[0]
        end = start + _number(query, "limit", _DEFAULT_PAGE, most=_LONGEST_PAGE)
        return {"object": "list", "data": [_shown(one) for one in found[start:end]], "has_more": end < len(found)}

    async def _read(self, app: App, one: Conversation, query: Mapping[str, str]) -> Mapping[str, Any]:
        limit = _number(query, "limit", _DEFAULT_PAGE, most=_LONGEST_PAGE)
        before = _number(query, "before", one.turns + 1, most=one.turns + 1)
        # One more than is shown, to know whether there is one.
        turns = await self._conversations.turns(app, one, before=before, limit=limit + 1)
        shown = turns[-limit:]
        return {**_shown(one), "turns": [_turn(turn) for turn in shown], "has_more": len(turns) > len(shown)}


def _answer(value: Mapping[str, Any]) -> Response:
    return Response(HTTPStatus.OK, _JSON, to_json(value))


def _shown(one: Conversation) -> Mapping[str, Any]:
    return {
        "id": one.id,
        "object": "task.conversation",
        "user": one.user,
        "system": one.system,
        "last_turn": one.turns,
        "created_at": one.created_at,
        "updated_at": one.updated_at,
        "expires_at": one.expires_at,
    }


def _turn(turn: Turn) -> Mapping[str, Any]:
    return {
        "turn": turn.number,
        "message": turn.message,
        "output": turn.output,
        "finish_reason": turn.finish_reason,
        "at": turn.at,
    }


def _query(request: Request, *known: str) -> Mapping[str, str]:
    given: dict[str, str] = {}
    for name, value in parse_qsl(request.query, keep_blank_values=True):
        if name not in known:
            raise errors.InvalidRequest(
                f"Unknown parameter: '{name[:100]}'.", param=name[:100], code="unknown_parameter"
            )
        if name in given or not value or len(value) > LONGEST_USER:
            raise _invalid(name, f"write it once, with 1 to {LONGEST_USER} characters")
        given[name] = value
    return given


def _number(query: Mapping[str, str], name: str, otherwise: int, *, most: int) -> int:
    text = query.get(name, str(otherwise))
    if not _NUMBER.fullmatch(text) or int(text) > most:
        raise _invalid(name, f"it has to be a whole number from 1 to {most}")
    return int(text)


def _invalid(name: str, reason: str) -> errors.InvalidRequest:
    return errors.InvalidRequest(f"Invalid '{name}': {reason}.", param=name, code="invalid_value")
