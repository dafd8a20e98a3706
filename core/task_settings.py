"""`[tasks]` of `trefoil.toml`: which models the built-in tasks use, and the operator's own tasks."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Annotated, Any, Literal, Protocol, TypeVar

from core import json_schema, task_template
from core.model import checked, limited
from core.upstream_settings import Section

_Model = TypeVar("_Model", bound=Section)

BUILT_IN = ("generate", "complete", "summarize", "converse", "code", "image")
_TAKEN = frozenset({*BUILT_IN, "conversations", "list", "run"})
_NAME = re.compile(r"[a-z]+(_[a-z]+)*")
_LONGEST_NAME = 50
_FIELD_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]{0,49}")
CONTROLS = frozenset({"model", "stream"})
"""What a client sends beside the input fields."""

_MOST_OUTPUT_TOKENS = 1_000_000
_LONGEST_TEXT = 20_000
_MOST_FIELDS = 50

PARAMETERS = frozenset(
    {
        "frequency_penalty", "presence_penalty", "reasoning_effort", "seed", "service_tier", "stop", "temperature",
        "top_p", "verbosity",
    }
)  # fmt: skip
"""What an operator can set of a chat completion: nothing by which a call costs more than is set aside for it."""

ModelName = Annotated[str, limited(min_length=1, max_length=256)]
_Tokens = Annotated[int, limited(ge=1, le=_MOST_OUTPUT_TOKENS)]


class BuiltInSettings(Section):
    """`[tasks.generate]` and the like. None: what `[tasks]` says."""

    model: ModelName | None = None
    models: tuple[ModelName, ...] = ("*",)
    """Those that a request may name, as names or patterns; with none, it may name none."""
    max_output_tokens: _Tokens | None = None


class FieldSettings(Section):
    """What one field of a task's input must be."""

    type: Literal["string", "integer", "number", "boolean", "strings"] = "string"
    description: str = ""
    required: bool = True
    max_length: Annotated[int, limited(ge=1)] = _LONGEST_TEXT
    """In characters, of a text or of each in a list of texts."""
    max_items: Annotated[int, limited(ge=1)] = 100
    enum: tuple[str, ...] = ()

    def _fits_together(self, _context: None) -> None:
        for name, kinds in _ONLY_FOR.items():
            if name in self.model_fields_set and self.type not in kinds:
                raise ValueError(f"{name} is for {' and '.join(kinds)} only")


_ONLY_FOR = {"max_length": ("string", "strings"), "enum": ("string", "strings"), "max_items": ("strings",)}


def _is_schema(value: Mapping[str, Any]) -> Mapping[str, Any]:
    json_schema.check(value)
    return value


def _has_no_places(value: str) -> str:
    if task_template.has_places(value):
        raise ValueError(
            "what clients send stands in the prompt only: write no {{ }} here, so that nobody can change this text"
        )
    return value


def _has_places(value: str) -> str:
    task_template.places(value)
    return value


class OwnTaskSettings(Section):
    """`[tasks.NAME]`: a task of the operator's."""

    description: str = ""
    system: Annotated[str, checked(_has_no_places)] = ""
    """What the model is told before all else; no client can change it."""
    prompt: Annotated[str, limited(min_length=1), checked(_has_places)]
    """What the model is asked, with places for the input such as `{{text}}`."""
    input: Annotated[Mapping[str, FieldSettings], limited(min_length=1, max_length=_MOST_FIELDS)]
    output: Annotated[dict[str, Any], checked(_is_schema)] | None = None
    """The JSON Schema of the answer; None: it is a text."""
    model: ModelName | None = None
    models: tuple[ModelName, ...] = ()
    """Those that a request may name, as names or patterns."""
    max_output_tokens: _Tokens | None = None
    parameters: Mapping[str, Any] = {}
    apps: tuple[str, ...] = ("*",)
    """Those that may use it, as names or patterns."""
    example: Mapping[str, Any] | None = None

    def _fits_together(self, _context: None) -> None:
        for name in self.input:
            if not _FIELD_NAME.fullmatch(name) or name in CONTROLS:
                raise ValueError(f"input.{name}: call a field by letters, digits and _, and not model or stream")
        for name in task_template.places(self.prompt):
            if name not in self.input:
                raise ValueError(f"prompt: there is no input field '{name}', only {', '.join(self.input)}")
        unused = set(self.input) - set(task_template.places(self.prompt))
        if unused:
            name = min(unused)
            raise ValueError(f"input.{name}: the prompt has no place for it: write {{{{{name}}}}} there")
        for name in self.parameters:
            if name not in PARAMETERS:
                raise ValueError(f"parameters.{name}: write one of {', '.join(sorted(PARAMETERS))}")


class TasksSettings(Section):
    """All of it."""

    model: ModelName = "gpt-4o-mini"
    max_output_tokens: _Tokens = 4096
    """Of one call of a model, where the request does not say."""
    conversation_days: Annotated[int, limited(ge=1, le=3660)] = 30
    """So long after its last message a conversation is kept."""
    built_in: Mapping[str, BuiltInSettings] = {}
    own: Mapping[str, OwnTaskSettings] = {}

    def model_of(self, task: str) -> str:
        settings = self.of(task)
        return settings.model or ("gpt-image-1" if task == "image" else self.model)

    def output_tokens_of(self, task: str) -> int:
        return self.of(task).max_output_tokens or self.max_output_tokens

    def of(self, task: str) -> BuiltInSettings | OwnTaskSettings:
        """What is set for one task, whose name is known."""
        return self.own[task] if task in self.own else self.built_in.get(task, BuiltInSettings())


class Checker(Protocol):
    """Makes settings of a part of the file that has this place in it, or raises what names the mistake."""

    def __call__(self, model: type[_Model], values: Mapping[str, Any], place: tuple[str, ...]) -> _Model: ...


def read(values: Mapping[str, Any], checked: Checker) -> TasksSettings:
    """The section as settings; what `checked` raises names a mistake in it."""
    tables = {name: table for name, table in values.items() if isinstance(table, dict)}
    plain = {name: value for name, value in values.items() if name not in tables}
    built_in, own = {}, {}
    for name, table in tables.items():
        if name in BUILT_IN:
            built_in[name] = checked(BuiltInSettings, table, ("tasks", name))
        else:
            checked(_Name, {"name": name}, ("tasks", name))
            own[name] = checked(OwnTaskSettings, table, ("tasks", name))
    settings = checked(TasksSettings, plain, ("tasks",))
    return settings.model_copy(update={"built_in": built_in, "own": own})


def _is_name(value: str) -> str:
    if not _NAME.fullmatch(value) or len(value) > _LONGEST_NAME:
        raise ValueError("call a task by lower-case words with _ between them, such as classify_mail")
    if value in _TAKEN:
        raise ValueError("this name is taken: give your task another one")
    return value


class _Name(Section):
    name: Annotated[str, checked(_is_name)]
