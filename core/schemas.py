"""What the gateway must understand of a request's body. Everything else in it goes to upstream byte for byte."""

from __future__ import annotations

from typing import Annotated, TypeVar

from pydantic import BaseModel, Field, StrictBool, StrictStr, ValidationError
from pydantic_core import ErrorDetails

from core import errors
from core.http import Request

Model = TypeVar("Model", bound="Call")


class Item(BaseModel):
    """Any JSON object. Nothing is read of it, so a prompt of a megabyte costs no Python objects."""


class Call(BaseModel):
    """The fields that every endpoint with a JSON body shares."""

    model: Annotated[StrictStr, Field(min_length=1)]
    stream: StrictBool | None = None


class ChatCompletion(Call):
    """`POST /v1/chat/completions`."""

    messages: Annotated[list[Item], Field(min_length=1)]


def read(schema: type[Model], request: Request, *, limit_bytes: int) -> Model:
    """The request's body as a `schema`.

    Raises:
        InvalidRequest: it is too large, compressed, not JSON, not an object, or a field is missing or has a wrong type.
    """
    if len(request.body) > limit_bytes:
        raise errors.BodyTooLarge(limit_bytes)
    encoding = request.headers.get("content-encoding", "identity").strip().lower()
    if encoding != "identity":
        raise errors.UnsupportedBody("A compressed request body is not supported: send it without Content-Encoding.")
    try:
        return schema.model_validate_json(request.body)
    except ValidationError as error:
        # The first problem is enough, as it is for OpenAI.
        raise _explain(error.errors(include_url=False)[0]) from None


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
    if kind.endswith("too_short"):
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
