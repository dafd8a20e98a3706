"""What the gateway must understand of a request's body. Everything else in it goes to upstream byte for byte."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any

from pydantic import BaseModel, Field, StrictBool, StrictStr, ValidationError
from pydantic_core import ErrorDetails

from core import errors


class Item(BaseModel):
    """Any JSON object. Nothing is read of it, so a prompt of a megabyte costs no Python objects."""


ModelName = Annotated[StrictStr, Field(min_length=1, max_length=256)]


class Call(BaseModel):
    """What every endpoint with a body may have in it."""

    model: ModelName | None = None
    stream: StrictBool | None = None
    store: StrictBool | None = None
    conversation: Any = None
    background: Any = None
    """For a response, whether it is made when nobody waits; for an image, what is behind it."""
    audio: Item | None = None
    """How the model is to speak; of interest is only whether it is."""


class ModelCall(Call):
    """A call that names its model."""

    model: ModelName


class ChatCompletion(ModelCall):
    """`POST /v1/chat/completions`."""

    messages: Annotated[list[Item], Field(min_length=1)]


def parse(schema: type[Call], body: bytes) -> Call:
    """A JSON body as a `schema`.

    Raises:
        InvalidRequest: it is not JSON, not an object, or a field is missing or has a wrong type.
    """
    try:
        return schema.model_validate_json(body)
    except ValidationError as error:
        # The first problem is enough, as it is for OpenAI.
        raise _explain(error.errors(include_url=False)[0]) from None


def parse_fields(fields: Mapping[str, list[str]]) -> Call:
    """A form's fields as a call.

    Raises:
        InvalidRequest: a field has a wrong value.
    """
    given = {}
    for name in ("model", "stream"):
        values = fields.get(name, [])
        if len(values) > 1:  # upstream might take another one than is checked here
            raise errors.InvalidRequest(f"The form has the field '{name}' more than once.", param=name)
        if values:
            given[name] = values[0]
    if "stream" in given and given["stream"].lower() not in ("true", "false", "1", "0"):
        raise errors.InvalidRequest("'stream' must be true or false.", param="stream", code="invalid_type")
    return Call(model=given.get("model") or None, stream=given.get("stream", "").lower() in ("true", "1"))


def is_object(body: bytes) -> bool:
    """Whether these bytes are a JSON object."""
    try:
        Item.model_validate_json(body)
    except ValidationError:
        return False
    return True


def _explain(problem: ErrorDetails) -> errors.InvalidRequest:
    kind = problem["type"]
    param = _path(problem["loc"]) or None
    if kind == "json_invalid":
        reason = problem.get("ctx", {}).get("error", "it ends too soon")
        return errors.InvalidRequest(f"The request body is not valid JSON: {reason}.", code="invalid_json")
    if param is None:
        return errors.InvalidRequest("The request body must be a JSON object.", code="invalid_type")
    if kind == "missing":
        return errors.InvalidRequest(
            f"Missing required parameter: '{param}'.", param=param, code="missing_required_parameter"
        )
    if kind.endswith(("too_short", "too_long")):
        return errors.InvalidRequest(f"Invalid '{param}': {problem['msg']}.", param=param, code="invalid_value")
    return errors.InvalidRequest(
        f"Invalid type for '{param}': {problem['msg']}, but got {_type_name(problem['input'])}.",
        param=param,
        code="invalid_type",
    )


def _path(location: tuple[int | str, ...]) -> str:
    """A field's place as OpenAI writes it: `messages[0].content`."""
    path = ""
    for step in location:
        path += f"[{step}]" if isinstance(step, int) else f".{step}" if path else step
    return path


def _type_name(value: object) -> str:
    names = {dict: "an object", list: "an array", str: "a string", bool: "a boolean", int: "an integer"}
    return "null" if value is None else names.get(type(value), "a number")
