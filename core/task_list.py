"""What tasks there are, with the JSON Schemas of what they take and give, and an example of each."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from fnmatch import fnmatchcase
from typing import Any

from core import policy, task_input
from core.ports import App
from core.task_settings import FieldSettings, OwnTaskSettings, TasksSettings

Schema = Mapping[str, Any]

_DESCRIPTIONS: Mapping[str, str] = {
    "generate": "Carries out an instruction; with `schema`, the output is JSON that fits it.",
    "complete": "Continues a text.",
    "summarize": "Summarises a text of any length.",
    "converse": "Answers a message, and remembers the conversation.",
    "code": "Writes code, apart from what there is to say about it.",
    "image": "Draws an image.",
}
_TEXT: Schema = {"type": "string"}
_WHOLE: Schema = {"type": "integer"}
OUTPUTS: Mapping[str, Schema] = {
    "generate": {"description": "A text; with `schema`, a value that fits it, or null if the answer is not whole."},
    "complete": _TEXT,
    "summarize": _TEXT,
    "converse": _TEXT,
    "code": {
        "type": ["object", "null"],
        "properties": {"code": _TEXT, "language": _TEXT, "explanation": _TEXT},
        "required": ["code", "language", "explanation"],
    },
    "image": {
        "type": "object",
        "properties": {"base64": _TEXT, "format": _TEXT, "url": _TEXT},
        "description": "Either `base64` with `format`, or `url`.",
    },
}
_MORE: Mapping[str, Mapping[str, Schema]] = {
    "summarize": {"calls": {**_WHOLE, "description": "So many calls of the model it took."}},
    "converse": {
        "conversation_id": _TEXT,
        "turn": {"type": ["integer", "null"], "description": "Its number in the conversation; null: it is not kept."},
        "turns_shown": {**_WHOLE, "description": "So many earlier turns the model was shown."},
    },
}


def describe(app: App, settings: TasksSettings) -> Mapping[str, Any]:
    """The tasks that an app may use."""
    return {"object": "list", "data": [*_all(app, settings)]}


def answer_schema(task: str, output: Schema) -> Schema:
    """The JSON Schema of a task's whole answer."""
    properties: dict[str, Schema] = {
        "id": _TEXT,
        "task": _TEXT,
        "model": _TEXT,
        "output": output,
        "finish_reason": {
            "type": "string",
            "description": "`stop`: it is whole; `length`, `content_filter`, `refusal`: it was broken off or refused.",
        },
        "partial": {**_TEXT, "description": "What came of an output that is null, since it is not whole."},
        **_MORE.get(task, {}),
        "usage": {
            "type": "object",
            "required": ["input_tokens", "output_tokens", "total_tokens", "cost_usd"],
            "properties": {
                "input_tokens": _WHOLE,
                "output_tokens": _WHOLE,
                "total_tokens": _WHOLE,
                "cost_usd": {"type": ["string", "null"], "description": "Null where the model's price is not known."},
            },
        },
    }
    required = ["id", "task", "model", "output", "finish_reason", *_MORE.get(task, {}), "usage"]
    return {"type": "object", "required": required, "properties": properties}


def input_schema(task: str) -> Schema:
    """The JSON Schema of what a built-in task takes."""
    schema = task_input.BUILT_IN[task].model_json_schema(by_alias=True)
    # What all tasks take comes last.
    own = {name: one for name, one in schema["properties"].items() if name not in task_input.TextControls.model_fields}
    schema["properties"] = {**own, **schema["properties"]}
    plain: Schema = _plain({name: schema[name] for name in ("type", "properties", "required", "additionalProperties")})
    return plain


def example(task: str) -> Mapping[str, Any]:
    return task_input.BUILT_IN[task].EXAMPLE


def description(task: str) -> str:
    return _DESCRIPTIONS[task]


def _all(app: App, settings: TasksSettings) -> Iterator[Mapping[str, Any]]:
    for task in task_input.BUILT_IN:
        if policy.may_use(app, f"tasks.{task}"):
            yield {
                **_head(task, description(task), settings),
                "input": input_schema(task),
                "output": answer_schema(task, OUTPUTS[task]),
                "example": example(task),
            }
    for task, own in settings.own.items():
        if policy.may_use(app, f"tasks.{task}") and any(fnmatchcase(app.id, pattern) for pattern in own.apps):
            yield {
                **_head(task, own.description, settings),
                "input": task_input.own_schema(own),
                "output": answer_schema(task, own.output or _TEXT),
                "example": _own_example(own),
            }


def _head(task: str, text: str, settings: TasksSettings) -> Mapping[str, Any]:
    return {
        "object": "task",
        "id": task,
        "path": f"/tasks/{task}",
        "description": text,
        "model": settings.model_of(task),
    }


def _own_example(own: OwnTaskSettings) -> Mapping[str, Any]:
    return own.example or {name: _some(field) for name, field in own.input.items() if field.required}


def _some(field: FieldSettings) -> Any:
    text = field.enum[0] if field.enum else "text"[: field.max_length]
    values: Mapping[str, Any] = {"integer": 1, "number": 1.5, "boolean": True, "strings": [text]}
    return values.get(field.type, text)


def _plain(schema: Any) -> Any:
    """Without the titles that pydantic gives, of which nobody learns anything."""
    if isinstance(schema, dict):
        return {
            name: {key: _plain(one) for key, one in value.items()} if name == "properties" else _plain(value)
            for name, value in schema.items()
            if name != "title" or not isinstance(value, str)
        }
    return [_plain(one) for one in schema] if isinstance(schema, list) else schema
