"""Classes whose instances have been checked, as pydantic's models are: by pydantic's own core, from the annotations.

pydantic itself takes 80 ms to be loaded, and more to build its models: as long as all else that a cold start does here.
So what the first request needs is described with `Model`, which knows no more than is used here; the rest of the core
has pydantic's models. Both have the same methods, and raise the same `ValidationError`.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping
from decimal import Decimal
from types import NoneType, UnionType
from typing import (
    Annotated,
    Any,
    ClassVar,
    Literal,
    Self,
    Union,
    dataclass_transform,
    get_args,
    get_origin,
)

from pydantic_core import CoreSchema, SchemaValidator, core_schema

Mark = Callable[[CoreSchema], CoreSchema]
"""Stands in an `Annotated`, and makes what is checked by another check."""

_PLAIN: Mapping[Any, Callable[[], CoreSchema]] = {
    Any: core_schema.any_schema,
    Decimal: core_schema.decimal_schema,
    bool: core_schema.bool_schema,
    float: core_schema.float_schema,
    int: core_schema.int_schema,
    str: core_schema.str_schema,
    None: core_schema.none_schema,
}
"""Others than these bring their own, by `schema`."""


def limited(**limits: object) -> Mark:
    """Within limits, which have the names that `pydantic_core.core_schema` gives them, such as `ge` and `strict`."""
    return lambda schema: {**schema, **limits}


def checked(check: Callable[[Any], Any]) -> Mark:
    """As `check` returns it, which raises a `ValueError` where it is a mistake."""
    return lambda schema: core_schema.no_info_after_validator_function(check, schema)


def unchecked(_schema: CoreSchema) -> CoreSchema:
    """Was checked by itself before, or may be anything."""
    return core_schema.any_schema()


def left_out(schema: CoreSchema) -> CoreSchema:
    """In a list, without those that are none."""
    return core_schema.with_default_schema(schema, on_error="omit")


@dataclass_transform(kw_only_default=True, frozen_default=True)
class Model:
    """What a mapping must be. What checks it is made when it is first needed. The annotations have to be text, as
    `from __future__ import annotations` makes them.

    A class may have `_fits_together(self, _context)`, which raises a `ValueError` where its fields do not.
    """

    __slots__ = ("__dict__", "__pydantic_extra__", "__pydantic_fields_set__", "__pydantic_private__")

    EXTRA: ClassVar[Literal["ignore", "forbid"]] = "ignore"
    """What becomes of fields that the class does not have."""
    _validator: ClassVar[SchemaValidator | None] = None

    def __init__(self, **values: Any) -> None:
        self._checks().validate_python(values, self_instance=self)

    def __init_subclass__(cls) -> None:
        cls._validator = None

    @classmethod
    def model_validate(cls, value: object) -> Self:
        """
        Raises:
            ValidationError: it is no mapping, or not the right one.
        """
        made: Self = cls._checks().validate_python(value)
        return made

    @classmethod
    def model_validate_json(cls, content: bytes | str) -> Self:
        """
        Raises:
            ValidationError: it is no JSON, or not the right one.
        """
        made: Self = cls._checks().validate_json(content)
        return made

    @classmethod
    def prepare(cls) -> None:
        """Make now what checks it, so that no request waits for that."""
        cls._checks()

    @classmethod
    def model_construct(cls) -> Self:
        """With the defaults, which nobody checks."""
        given = {name: default for name, default in cls.defaults().items() if default is not ...}
        return object.__new__(cls).model_copy(update=given)

    @classmethod
    def defaults(cls) -> Mapping[str, Any]:
        """The fields by name, each with its default, or with `...` where it must be given."""
        return {name: vars(base).get(name, ...) for name, (_, base) in cls._annotated().items()}

    @classmethod
    def schema(cls) -> CoreSchema:
        """What pydantic's core checks it by."""
        fields = {}
        for name, (kind, base) in cls._annotated().items():
            # As `typing.get_type_hints` does, which takes longer.
            check = _schema(eval(kind, vars(sys.modules[base.__module__])))  # noqa: S307 - this program's own text
            if name in vars(base):
                check = core_schema.with_default_schema(check, default=vars(base)[name])
            fields[name] = core_schema.model_field(check)
        return core_schema.model_schema(
            cls,
            core_schema.model_fields_schema(fields, model_name=cls.__name__, extra_behavior=cls.EXTRA),
            post_init="_fits_together" if hasattr(cls, "_fits_together") else None,
        )

    @property
    def model_fields_set(self) -> set[str]:
        """The fields that were given."""
        return self.__pydantic_fields_set__  # type: ignore[attr-defined, no-any-return]

    def model_copy(self, *, update: Mapping[str, Any]) -> Self:
        """With other fields, which nobody checks."""
        copy = object.__new__(type(self))
        vars(copy).update(vars(self), **update)
        return copy

    def model_dump(self) -> dict[str, Any]:
        """The fields as a mapping that can be validated again."""
        return {name: one.model_dump() if isinstance(one, Model) else one for name, one in vars(self).items()}

    @classmethod
    def _annotated(cls) -> Mapping[str, tuple[str, type]]:
        """The fields' annotations, which are text, and the classes that have them."""
        found: dict[str, tuple[str, type]] = {}
        for base in reversed(cls.__mro__[: cls.__mro__.index(Model)]):
            kinds: Mapping[str, str] = base.__annotations__
            found |= {name: (kind, base) for name, kind in kinds.items() if not kind.startswith("ClassVar")}
        return found

    @classmethod
    def _checks(cls) -> SchemaValidator:
        if cls._validator is None:
            cls._validator = SchemaValidator(cls.schema())
        return cls._validator

    def __setattr__(self, name: str, value: object) -> None:
        raise AttributeError(f"{type(self).__name__} is not to be changed")

    def __eq__(self, other: object) -> bool:
        return type(other) is type(self) and vars(other) == vars(self)

    def __hash__(self) -> int:
        return hash(tuple(vars(self).values()))

    def __repr__(self) -> str:
        return f"{type(self).__name__}({', '.join(f'{name}={value!r}' for name, value in vars(self).items())})"


def _schema(kind: Any) -> CoreSchema:
    origin, parts = get_origin(kind), get_args(kind)
    if origin is None:
        return _PLAIN[kind]() if kind in _PLAIN else kind.schema()
    if origin is Annotated:
        schema = _schema(parts[0]) if unchecked not in parts else core_schema.any_schema()
        for mark in parts[1:]:
            schema = mark(schema)
        return schema
    if origin is Literal:
        return core_schema.literal_schema([*parts])
    if origin in (Union, UnionType):
        return _either(parts)
    if origin is tuple:
        return core_schema.tuple_schema([_schema(parts[0])], variadic_item_index=0)
    if origin is list:
        return core_schema.list_schema(_schema(parts[0]))
    return core_schema.dict_schema(_schema(parts[0]), _schema(parts[1]))


def _either(parts: tuple[Any, ...]) -> CoreSchema:
    """One kind; or none, where None is among the parts; or anything else, where Any is."""
    [kind] = [part for part in parts if part not in (NoneType, Any)]
    schema = _schema(kind)
    if Any in parts:
        return core_schema.union_schema([schema, core_schema.any_schema()], mode="left_to_right")
    return core_schema.nullable_schema(schema)
