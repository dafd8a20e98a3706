"""What the gateway must understand of a request's body. Everything else in it goes to upstream byte for byte."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Annotated, Any

from pydantic_core import ErrorDetails, ValidationError

from core import errors
from core.model import Model, limited

_Bool = Annotated[bool, limited(strict=True)]


class Item(Model):
    """Any JSON object. Nothing is read of it, so a prompt of a megabyte costs no Python objects."""


class StreamOptions(Model):
    """What a client says of the stream that it asks for."""

    include_usage: _Bool | None = None


_MOST_ANSWERS = 128
"""https://platform.openai.com/docs/api-reference/chat/create#chat-create-n"""
_MOST_TOKENS = 10_000_000
"""More than any model puts out. What a request costs at most is a product of such numbers, and has to fit in 63 bits.
"""
_MOST_TOOL_CALLS = 10_000

LONGEST_MODEL_NAME = 256
ModelName = Annotated[str, limited(strict=True, min_length=1, max_length=LONGEST_MODEL_NAME)]
_Answers = Annotated[int, limited(strict=True, ge=1, le=_MOST_ANSWERS)]
_Tokens = Annotated[int, limited(strict=True, ge=0, le=_MOST_TOKENS)]
"""Of 0, OpenAI says in its own words that it is too few: here it says nothing."""


class Call(Model):
    """What every endpoint with a body may have in it.

    The numbers bound what the call costs. OpenAI takes nothing but integers and null for them; to other upstreams a
    negative number can mean `without end`, so it is refused here.
    """

    model: ModelName | None = None
    stream: _Bool | None = None
    store: _Bool | None = None
    conversation: Any = None
    background: Any = None
    """For a response, whether it is made when nobody waits; for an image, what is behind it."""
    audio: Item | None = None
    """How the model is to speak; of interest is only whether it is."""
    stream_options: StreamOptions | None = None
    service_tier: Annotated[str, limited(strict=True, max_length=64)] | None = None
    """How fast, and how dear: `flex`, `priority`. None or `auto`: what the operator's project is set to."""
    n: _Answers | None = None
    best_of: Annotated[int, limited(strict=True, ge=0, le=_MOST_ANSWERS)] | None = None
    max_tokens: _Tokens | None = None
    """0 is for a completion that only echoes its prompt."""
    max_completion_tokens: _Tokens | None = None
    max_output_tokens: _Tokens | None = None
    max_tool_calls: Annotated[int, limited(strict=True, ge=0, le=_MOST_TOOL_CALLS)] | None = None
    partial_images: Annotated[int, limited(strict=True, ge=0, le=3)] | None = None


class ModelCall(Call):
    """A call that names its model."""

    model: ModelName


class ChatCompletion(ModelCall):
    """`POST /v1/chat/completions`."""

    messages: Annotated[list[Item], limited(min_length=1)]


ChatCompletion.prepare()  # the most used


def parse(schema: type[Call], body: bytes) -> Call:
    """A JSON body as a `schema`.

    Raises:
        InvalidRequest: it is not JSON, not an object, or a field is missing or has a wrong type.
    """
    try:
        return schema.model_validate_json(body)
    except ValidationError as error:
        # The first problem is enough, as it is for OpenAI.
        raise explain(error.errors(include_url=False)[0]) from None


def parse_fields(fields: Mapping[str, list[str]]) -> Call:
    """A form's fields as a call.

    Raises:
        InvalidRequest: a field has a wrong value.
    """
    given = {}
    for name in ("model", "stream", *_FORM_NUMBERS):
        values = fields.get(name, [])
        if len(values) > 1:  # upstream might take another one than is checked here
            raise errors.InvalidRequest(f"The form has the field '{name}' more than once.", param=name)
        if values:
            given[name] = values[0]
    if "stream" in given and given["stream"].lower() not in ("true", "false", "1", "0"):
        raise errors.InvalidRequest("'stream' must be true or false.", param="stream", code="invalid_type")
    numbers = {name: _form_number(name, given[name]) for name in _FORM_NUMBERS if name in given}
    model, stream = given.get("model") or None, given.get("stream", "").lower() in ("true", "1")
    try:
        return Call.model_validate({"model": model, "stream": stream, **numbers})
    except ValidationError as error:
        raise explain(error.errors(include_url=False)[0]) from None


_FORM_NUMBERS = ("n", "partial_images")
_FORM_NUMBER = re.compile(r"[0-9]{1,9}")


def _form_number(name: str, value: str) -> int:
    if not _FORM_NUMBER.fullmatch(value):
        raise errors.InvalidRequest(f"'{name}' must be a whole number.", param=name, code="invalid_type")
    return int(value)


def is_object(body: bytes) -> bool:
    """Whether these bytes are a JSON object."""
    try:
        Item.model_validate_json(body)
    except ValidationError:
        return False
    return True


def explain(problem: ErrorDetails) -> errors.InvalidRequest:
    """What pydantic found, as OpenAI would say it."""
    kind = problem["type"]
    param = path(problem["loc"]) or None
    if kind == "json_invalid":
        reason = problem.get("ctx", {}).get("error", "it ends too soon")
        return errors.InvalidRequest(f"The request body is not valid JSON: {reason}.", code="invalid_json")
    if param is None:
        return errors.InvalidRequest("The request body must be a JSON object.", code="invalid_type")
    if kind == "missing":
        return errors.InvalidRequest(
            f"Missing required parameter: '{param}'.", param=param, code="missing_required_parameter"
        )
    if kind.endswith(("too_short", "too_long", "than_equal")):
        return errors.InvalidRequest(f"Invalid '{param}': {problem['msg']}.", param=param, code="invalid_value")
    return errors.InvalidRequest(
        f"Invalid type for '{param}': {problem['msg']}, but got {_type_name(problem['input'])}.",
        param=param,
        code="invalid_type",
    )


def path(location: tuple[int | str, ...]) -> str:
    """A field's place as OpenAI writes it: `messages[0].content`."""
    text = ""
    for step in location:
        text += f"[{step}]" if isinstance(step, int) else f".{step}" if text else step
    return text


def _type_name(value: object) -> str:
    names = {dict: "an object", list: "an array", str: "a string", bool: "a boolean", int: "an integer"}
    return "null" if value is None else names.get(type(value), "a number")
