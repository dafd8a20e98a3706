"""What this service offers as an OpenAPI document (https://spec.openapis.org/oas/v3.1.0), made from the endpoint table.

It describes what the gateway itself checks; every other field and parameter is upstream's, and open.
"""

from __future__ import annotations

import functools
import json
import re
from collections.abc import Iterator, Mapping
from typing import Any, TypeAlias

from pydantic.json_schema import GenerateJsonSchema, JsonSchemaValue
from pydantic_core import core_schema

from core.endpoints import ENDPOINTS, Endpoint

_Object: TypeAlias = dict[str, Any]

_NAMES = re.compile(r"\{(\w+)\}")
_COMPONENTS = "#/components/schemas/"
_EXAMPLES: Mapping[str, Any] = {
    "model": "gpt-4o-mini",
    "messages": [{"role": "user", "content": "Say hello."}],
}
_NULLABLE_TEXT = {"type": ["string", "null"]}
_ERROR = {
    "type": "object",
    "required": ["error"],
    "properties": {
        "error": {
            "type": "object",
            "required": ["message", "type", "param", "code"],
            "properties": {
                "message": {"type": "string"},
                "type": {"type": "string"},
                "param": _NULLABLE_TEXT,
                "code": _NULLABLE_TEXT,
            },
        }
    },
}


@functools.cache
def document() -> bytes:
    """The document as JSON. Made when first asked for: a process that is never asked does not pay for it."""
    return json.dumps(describe(ENDPOINTS), separators=(",", ":")).encode()


def describe(table: tuple[Endpoint, ...]) -> Mapping[str, Any]:
    """The document of what `table` offers."""
    paths: dict[str, _Object] = {}
    for row in table:
        paths.setdefault(row.path, {})[row.method.lower()] = _operation(row)
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "Trefoil",
            "version": "1",
            "description": "OpenAI's API, offered with an app key. Fields that are not described here go to OpenAI.",
        },
        "servers": [{"url": "/"}],
        "security": [{"appKey": []}],
        "paths": paths,
        "components": {
            "securitySchemes": {"appKey": {"type": "http", "scheme": "bearer"}},
            "schemas": {"Error": _ERROR, **_bodies(table)},
        },
    }


def _operation(row: Endpoint) -> _Object:
    operation = _plain_operation(row)
    if row.is_task:
        from core import task_openapi  # noqa: PLC0415 - it brings all of the tasks with it

        operation |= task_openapi.operation(row, operation)
    return operation


def _plain_operation(row: Endpoint) -> _Object:
    operation: _Object = {"operationId": row.name, "tags": [row.name.partition(".")[0]], "responses": _responses(row)}
    if parameters := [*_parameters(row)]:
        operation["parameters"] = parameters
    if content := _request_content(row):
        operation["requestBody"] = {"required": row.json is None or _requires_fields(row), "content": content}
    if row.public:
        operation["security"] = []
    return operation


def _parameters(row: Endpoint) -> Iterator[_Object]:
    for name in _NAMES.findall(row.path):
        yield {"name": name, "in": "path", "required": True, "schema": {"type": "string", "minLength": 1}}
    if row.lists is not None:
        # These lists are made here, so their parameters are read here.
        yield {"name": "limit", "in": "query", "schema": {"type": "integer", "minimum": 1}}
        yield {"name": "order", "in": "query", "schema": {"enum": ["asc", "desc"]}}
        yield {"name": "after", "in": "query", "schema": {"type": "string"}}


def _request_content(row: Endpoint) -> _Object:
    content: _Object = {}
    if row.json is not None:
        content["application/json"] = {"schema": {"$ref": _COMPONENTS + row.json.__name__}}
    if row.form:
        content["multipart/form-data"] = {"schema": {"type": "object", "additionalProperties": True}}
    return content


def _requires_fields(row: Endpoint) -> bool:
    return row.json is not None and ... in row.json.defaults().values()


def _responses(row: Endpoint) -> _Object:
    content: _Object = (
        {"application/json": {"schema": {"type": "object"}}} if row.answers_json and not row.gives_file else {"*/*": {}}
    )
    if row.last_events:
        content["text/event-stream"] = {}
    error = {"content": {"application/json": {"schema": {"$ref": f"{_COMPONENTS}Error"}}}}
    return {
        "200": {"description": "The answer.", "content": content},
        "4XX": {"description": "What is wrong with the request.", **error},
        "5XX": {"description": "What went wrong here or upstream.", **error},
    }


def _bodies(table: tuple[Endpoint, ...]) -> _Object:
    """The schemas of the JSON bodies, by name: open objects, of which what is checked here is described."""
    described = _Described()
    for row in table:
        if row.json is not None:
            described.generate_inner(row.json.schema())
    return {name: _open(schema) for name, schema in described.components.items()}


class _Described(GenerateJsonSchema):
    """Makes a component of each class."""

    def __init__(self) -> None:
        super().__init__()
        self.components: _Object = {}

    def model_schema(self, schema: core_schema.ModelSchema) -> JsonSchemaValue:
        name = schema["cls"].__name__
        if name not in self.components:
            self.components[name] = self.generate_inner(schema["schema"])
        return {"$ref": _COMPONENTS + name}


def _open(schema: _Object) -> _Object:
    # Of its title and description, which are a class's name and docstring, a client learns nothing.
    fields = {
        name: field | ({"examples": [_EXAMPLES[name]]} if name in _EXAMPLES else {})
        for name, field in schema.get("properties", {}).items()
    }
    required = {"required": schema["required"]} if "required" in schema else {}
    return {"type": "object", **required, "properties": fields, "additionalProperties": True}
