"""What clients send to tasks: small JSON objects, in which nothing is taken that a task does not know."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, ClassVar, NamedTuple, TypeVar

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, StrictBool, StrictInt, StrictStr, ValidationError
from pydantic_core import ErrorDetails

from core import errors, json_schema, schemas
from core.http import Request
from core.task_settings import FieldSettings, OwnTaskSettings

LONGEST_ID = 64
LONGEST_USER = 128
_MOST_OUTPUT_TOKENS = 1_000_000
_LONGEST_INSTRUCTION = 100_000
_LONGEST_WISH = 200
_FEWEST_WORDS, _MOST_WORDS = 5, 5000
LENGTHS: Mapping[str, int] = {"short": 60, "medium": 200, "long": 600}
"""In words."""

_Body = TypeVar("_Body", bound=BaseModel)


def _has_text(value: str) -> str:
    if not value.strip():
        raise ValueError("it must not be blank")
    return value


def _is_length(value: Any) -> int:
    """In words."""
    if isinstance(value, str) and value in LENGTHS:
        return LENGTHS[value]
    if isinstance(value, int) and not isinstance(value, bool) and _FEWEST_WORDS <= value <= _MOST_WORDS:
        return value
    raise ValueError(
        f"it has to be one of {', '.join(LENGTHS)}, or a number of words from {_FEWEST_WORDS} to {_MOST_WORDS}"
    )


def _is_schema(value: dict[str, Any]) -> dict[str, Any]:
    json_schema.check(value)
    return value


Text = Annotated[StrictStr, AfterValidator(_has_text)]
_Instruction = Annotated[StrictStr, Field(max_length=_LONGEST_INSTRUCTION), AfterValidator(_has_text)]
_Wish = Annotated[StrictStr, Field(min_length=1, max_length=_LONGEST_WISH)]
_Words = Annotated[
    Any,
    AfterValidator(_is_length),
    Field(
        json_schema_extra={
            "anyOf": [
                {"enum": [*LENGTHS]},
                {"type": "integer", "minimum": _FEWEST_WORDS, "maximum": _MOST_WORDS},
            ]
        }
    ),
]
UserName = Annotated[StrictStr, Field(min_length=1, max_length=LONGEST_USER)]
ConversationId = Annotated[StrictStr, Field(pattern=rf"^[A-Za-z0-9_-]{{1,{LONGEST_ID}}}$")]


class Controls(BaseModel):
    """What all tasks take beside their input."""

    model_config = ConfigDict(extra="forbid", frozen=True, defer_build=True)
    EXAMPLE: ClassVar[Mapping[str, Any]] = {}

    model: Annotated[StrictStr, Field(min_length=1, max_length=schemas.LONGEST_MODEL_NAME)] | None = None
    """The model to use instead of the task's own, where that is allowed."""
    stream: StrictBool = False


class TextControls(Controls):
    max_output_tokens: Annotated[StrictInt, Field(ge=1, le=_MOST_OUTPUT_TOKENS)] | None = None
    """The most that one call of the model may put out, what it thinks included."""


class Generate(TextControls):
    EXAMPLE: ClassVar[Mapping[str, Any]] = {"instruction": "Write a slogan for a shop that sells umbrellas."}

    instruction: _Instruction
    input: Text | None = None
    """What the instruction is about."""
    output_schema: Annotated[dict[str, Any], AfterValidator(_is_schema)] | None = Field(default=None, alias="schema")
    """A JSON Schema that the output has to fit."""


class Complete(TextControls):
    EXAMPLE: ClassVar[Mapping[str, Any]] = {"text": "The umbrella was invented because"}

    text: Text


class Summarize(TextControls):
    EXAMPLE: ClassVar[Mapping[str, Any]] = {"text": "A long report ...", "length": "short", "style": "bullet points"}

    text: Text
    """Of any length up to that of a request's body."""
    length: _Words = Field(default="medium", validate_default=True)
    style: _Wish | None = None
    language: _Wish | None = None
    """That of the summary; by default that of the text."""


class Converse(TextControls):
    EXAMPLE: ClassVar[Mapping[str, Any]] = {"message": "Which umbrella is the lightest?", "user": "customer-7"}

    message: Text
    conversation_id: ConversationId | None = None
    """One that is not there is begun. Without one, a new one is."""
    user: UserName | None = None
    """Whose conversation it is: to other users it is not there."""
    system: Annotated[StrictStr, Field(max_length=_LONGEST_INSTRUCTION // 5)] | None = None
    """What the model is told before the conversation; it is kept with it."""


class Code(TextControls):
    EXAMPLE: ClassVar[Mapping[str, Any]] = {"instruction": "Reverse a string.", "language": "Python"}

    instruction: _Instruction
    language: _Wish | None = None
    code: Text | None = None
    """What is there already."""


class Image(Controls):
    EXAMPLE: ClassVar[Mapping[str, Any]] = {"prompt": "A red umbrella in the rain.", "size": "1024x1024"}

    prompt: Annotated[StrictStr, Field(max_length=32_000), AfterValidator(_has_text)]
    size: Annotated[StrictStr, Field(pattern=r"^(auto|[0-9]{2,5}x[0-9]{2,5})$")] | None = None


BUILT_IN: Mapping[str, type[Controls]] = {
    "generate": Generate,
    "complete": Complete,
    "summarize": Summarize,
    "converse": Converse,
    "code": Code,
    "image": Image,
}


class Own(NamedTuple):
    """What was sent to an operator's own task."""

    controls: Controls
    values: Mapping[str, Any]


def check_sent(request: Request, *, limit_bytes: int) -> None:
    """
    Raises:
        BodyTooLarge, UnsupportedBody: it is no JSON that is taken here.
    """
    if len(request.body) > limit_bytes:
        raise errors.BodyTooLarge(limit_bytes)
    if request.headers.get("content-encoding", "identity").strip().lower() != "identity":
        raise errors.UnsupportedBody("A compressed request body is not supported: send it without Content-Encoding.")
    if request.headers.get("content-type", "").strip().lower().startswith("multipart/"):
        raise errors.UnsupportedBody("This endpoint takes JSON: send the request as application/json.")


def read(schema: type[_Body], content: bytes) -> _Body:
    """A body as a `schema`.

    Raises:
        InvalidRequest: names the field.
    """
    try:
        return schema.model_validate_json(content)
    except ValidationError as error:
        raise _explain(error.errors(include_url=False)[0]) from None


def read_own(settings: OwnTaskSettings, content: bytes) -> Own:
    """A body for an operator's own task.

    Raises:
        InvalidRequest: names the field.
    """
    values = dict(read(_Anything, content).model_extra or {})
    controls = {name: values.pop(name) for name in [*values] if name in Controls.model_fields}
    try:
        read_controls = Controls.model_validate(controls)
    except ValidationError as error:
        raise _explain(error.errors(include_url=False)[0]) from None
    for name in values:
        if name not in settings.input:
            raise _unknown(name)
    for name, field in settings.input.items():
        if values.get(name) is not None:
            _check(name, field, values[name])
        elif field.required:
            raise errors.InvalidRequest(
                f"Missing required parameter: '{name}'.", param=name, code="missing_required_parameter"
            )
    return Own(read_controls, values)


def own_schema(settings: OwnTaskSettings) -> Mapping[str, Any]:
    """The JSON Schema of what an operator's own task takes."""
    properties = {name: _field_schema(field) for name, field in settings.input.items()}
    properties["stream"] = {"type": "boolean"}
    if settings.models:
        properties["model"] = {"type": "string"}
    required = [name for name, field in settings.input.items() if field.required]
    return {"type": "object", "properties": properties, "required": required, "additionalProperties": False}


class _Anything(BaseModel):
    model_config = ConfigDict(extra="allow", defer_build=True)


_TYPES: Mapping[str, tuple[type, ...]] = {
    "string": (str,),
    "integer": (int,),
    "number": (int, float),
    "boolean": (bool,),
    "strings": (list,),
}
_NOUNS = {
    "string": "a string",
    "integer": "an integer",
    "number": "a number",
    "boolean": "a boolean",
    "strings": "an array of strings",
}


def _check(name: str, field: FieldSettings, value: object) -> None:
    is_typed = isinstance(value, _TYPES[field.type]) and isinstance(value, bool) == (field.type == "boolean")
    if not is_typed or (isinstance(value, list) and not all(isinstance(one, str) for one in value)):
        raise errors.InvalidRequest(
            f"Invalid type for '{name}': it has to be {_NOUNS[field.type]}.", param=name, code="invalid_type"
        )
    texts = value if isinstance(value, list) else [value] if isinstance(value, str) else []
    if isinstance(value, list) and len(value) > field.max_items:
        raise _invalid(name, f"it has more than {field.max_items} items")
    for text in texts:
        if len(text) > field.max_length:
            raise _invalid(name, f"it is longer than {field.max_length} characters")
        if field.enum and text not in field.enum:
            raise _invalid(name, f"it has to be one of {', '.join(field.enum)}")
    if isinstance(value, str) and field.required:
        try:
            _has_text(value)
        except ValueError as error:
            raise _invalid(name, str(error)) from None


def _field_schema(field: FieldSettings) -> dict[str, Any]:
    text: dict[str, Any] = {"type": "string", "maxLength": field.max_length}
    if field.enum:
        text["enum"] = list(field.enum)
    described = {"description": field.description} if field.description else {}
    if field.type == "strings":
        return {"type": "array", "items": text, "maxItems": field.max_items, **described}
    return {**(text if field.type == "string" else {"type": field.type}), **described}


def _explain(problem: ErrorDetails) -> errors.InvalidRequest:
    kind = problem["type"]
    path = schemas.path(problem["loc"])
    if kind == "extra_forbidden":
        return _unknown(path)
    if kind in ("value_error", "string_pattern_mismatch"):
        return _invalid(path, problem["msg"].removeprefix("Value error, "))
    return schemas.explain(problem)


def _unknown(name: str) -> errors.InvalidRequest:
    return errors.InvalidRequest(f"Unknown parameter: '{name}'.", param=name, code="unknown_parameter")


def _invalid(name: str, reason: str) -> errors.InvalidRequest:
    return errors.InvalidRequest(f"Invalid '{name}': {reason}.", param=name, code="invalid_value")
