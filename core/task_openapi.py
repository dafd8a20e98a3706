"""What the OpenAPI document says of tasks, beyond what it says of every row."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from core import task_list
from core.endpoints import Endpoint
from core.task_input import BUILT_IN, LONGEST_USER

_Object = dict[str, Any]

_EVENTS = """With `stream`: server-sent events, each a JSON object. `{"type": "delta", "text"}` is a piece of the
output; `{"type": "progress", "done", "total"}` says how far a long summary is; `{"type": "restart"}` says that the
output begins anew, since the first did not fit its schema. The last one is `{"type": "done", ...}` with all fields of
the plain answer. Where something goes wrong on the way, the last one is `{"error": {...}}` instead."""
_OPEN: Mapping[str, Any] = {"type": "object", "additionalProperties": True}
_NUMBER = {"type": "integer", "minimum": 1}
_USER = {"type": "string", "minLength": 1, "maxLength": LONGEST_USER}
_PARAMETERS: Mapping[str, Mapping[str, Any]] = {
    "tasks.conversations.list": {"user": _USER, "limit": {**_NUMBER, "maximum": 100}, "after": _USER},
    "tasks.conversations.retrieve": {"user": _USER, "limit": {**_NUMBER, "maximum": 100}, "before": _NUMBER},
    "tasks.conversations.delete": {"user": _USER},
}
_SUMMARIES: Mapping[str, str] = {
    "tasks.list": "The tasks that this app may use, with their schemas and an example of each.",
    "tasks.run": "A task of this service's operator: `GET /tasks` says what it takes.",
    "tasks.conversations.list": "The conversations of one user, or of none, the latest first.",
    "tasks.conversations.retrieve": "A conversation with its last turns.",
    "tasks.conversations.delete": "Deletes a conversation with all its turns.",
}


def operation(row: Endpoint, plain: Mapping[str, Any]) -> _Object:
    """What replaces parts of a row's plain description."""
    task = row.name.removeprefix("tasks.")
    described: _Object = {"summary": _SUMMARIES.get(row.name) or task_list.description(task)}
    if parameters := [*plain.get("parameters", []), *_query(row)]:
        described["parameters"] = parameters
    if row.method == "POST":
        described["requestBody"] = {"required": True, "content": {"application/json": _body(task)}}
        described["responses"] = {**plain["responses"], "200": _answer(task)}
    return described


def _query(row: Endpoint) -> Iterator[_Object]:
    for name, schema in _PARAMETERS.get(row.name, {}).items():
        yield {"name": name, "in": "query", "schema": schema}


def _body(task: str) -> _Object:
    if task not in BUILT_IN:
        return {"schema": _OPEN}
    return {"schema": task_list.input_schema(task), "example": task_list.example(task)}


def _answer(task: str) -> _Object:
    schema = task_list.answer_schema(task, task_list.OUTPUTS.get(task, {}))
    content: _Object = {"application/json": {"schema": schema}, "text/event-stream": {}}
    return {"description": f"The answer. {_EVENTS}", "content": content}
