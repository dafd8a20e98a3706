"""`core.model`: what it takes, refuses and says is what pydantic's own models would."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Annotated, Any, ClassVar, Literal

import pydantic
import pytest
from pydantic_core import ValidationError

from core.model import Model, checked, left_out, limited, unchecked
from core.secret import Secret


def _is_even(value: int) -> int:
    if value % 2:
        raise ValueError("write an even number")
    return value


class _Place(Model):
    street: Annotated[str, limited(min_length=2)]
    number: Annotated[int, checked(_is_even)] = 2


class _Base(Model):
    KIND: ClassVar[str] = "any"

    name: str | None = None
    size: Annotated[int, limited(strict=True, ge=0, le=9)] | None = None
    never: None = None


class _Ours(_Base):
    name: str
    place: _Place | None = None
    ways: tuple[Literal["by foot", "by car"], ...] = ()
    weights: Mapping[str, Annotated[float, limited(gt=0)]] = {}
    found: list[Annotated[_Place, left_out]] | Any = None

    def _fits_together(self, _context: None) -> None:
        if self.size == 3 and self.place is None:
            raise ValueError("size 3 needs a place")


class _TheirPlace(pydantic.BaseModel):
    street: Annotated[str, pydantic.Field(min_length=2)]
    number: Annotated[int, pydantic.AfterValidator(_is_even)] = 2


class _Theirs(pydantic.BaseModel):
    name: str
    size: Annotated[pydantic.StrictInt, pydantic.Field(ge=0, le=9)] | None = None
    never: None = None
    place: _TheirPlace | None = None
    ways: tuple[Literal["by foot", "by car"], ...] = ()
    weights: Mapping[str, Annotated[float, pydantic.Field(gt=0)]] = {}
    found: Annotated[list[pydantic.OnErrorOmit[_TheirPlace]] | Any, pydantic.Field(union_mode="left_to_right")] = None

    @pydantic.model_validator(mode="after")
    def _fits_together(self) -> _Theirs:
        if self.size == 3 and self.place is None:
            raise ValueError("size 3 needs a place")
        return self


class _Strict(Model):
    EXTRA = "forbid"

    name: str
    key: Secret | None = None
    rest: Annotated[_Place, unchecked] | None = None


_VALUES: list[Any] = [
    {"name": "a"},
    {"name": "a", "size": 3, "place": {"street": "High", "number": "4"}, "ways": ["by car"], "weights": {"b": "1.5"}},
    {"name": "a", "found": [{"street": "High"}, {"street": "x"}, 5], "unknown": 1},
    {"name": "a", "found": "nothing"},
    {"name": "a", "found": {}},
    {},
    {"name": None},
    {"name": 5},
    {"name": "a", "never": 5},
    {"name": "a", "size": "3"},
    {"name": "a", "size": 10},
    {"name": "a", "size": 3},
    {"name": "a", "place": {}},
    {"name": "a", "place": {"street": "x", "number": 3}},
    {"name": "a", "place": []},
    {"name": "a", "ways": ["by car", "by train"]},
    {"name": "a", "weights": {"b": 0, "c": "x"}},
    [],
    None,
    5,
]


def _problems(model: type[Model | pydantic.BaseModel], value: Any, *, as_json: bool) -> Any:
    """What it says is wrong, or what it has made."""
    try:
        made = model.model_validate_json(json.dumps(value)) if as_json else model.model_validate(value)
    except ValidationError as error:
        found = error.errors(include_url=False, include_input=False, include_context=False)
        return [(one["type"], one["loc"], one["msg"].replace("_TheirPlace", "_Place")) for one in found]
    return _plain(made)


def _plain(value: Any) -> Any:
    if isinstance(value, Model | pydantic.BaseModel):
        return {name: _plain(one) for name, one in vars(value).items()}
    return [_plain(one) for one in value] if isinstance(value, list) else value


@pytest.mark.parametrize("as_json", [False, True], ids=["python", "json"])
@pytest.mark.parametrize("value", _VALUES, ids=str)
def test_it_takes_and_says_what_pydantic_does(value: Any, as_json: bool) -> None:
    ours = _problems(_Ours, value, as_json=as_json)
    theirs = _problems(_Theirs, value, as_json=as_json)
    assert str(ours).replace("_Ours", "_Theirs") == str(theirs) or ours == theirs


def test_what_is_not_json_is_refused() -> None:
    with pytest.raises(ValidationError) as caught:
        _Ours.model_validate_json(b'{"name": ')
    assert caught.value.errors()[0]["type"] == "json_invalid"


def test_what_is_unknown_can_be_a_mistake() -> None:
    with pytest.raises(ValidationError) as caught:
        _Strict.model_validate({"name": "a", "nmae": "b"})
    [problem] = caught.value.errors()
    assert (problem["type"], problem["loc"]) == ("extra_forbidden", ("nmae",))


def test_a_subclass_may_ask_for_what_its_base_does_not() -> None:
    assert _Base().name is None
    assert _Ours.defaults()["name"] is ...
    assert _Base.defaults() == {"name": None, "size": None, "never": None}
    assert _Base.model_construct() == _Base()


def test_one_is_made_by_its_fields_and_checked() -> None:
    made = _Ours(name="a", place=_Place(street="High"))
    assert made.place == _Place(street="High", number=2)
    assert made.model_fields_set == {"name", "place"}
    with pytest.raises(ValidationError):
        _Ours(name="a", size=10)


def test_one_is_not_changed_but_copied() -> None:
    made = _Ours(name="a")
    with pytest.raises(AttributeError):
        made.name = "b"  # type: ignore[misc]
    copy = made.model_copy(update={"name": "b"})
    assert (made.name, copy.name) == ("a", "b")
    assert copy == _Ours(name="b")
    assert copy != made
    assert hash(_Place(street="High")) == hash(_Place(street="High"))


def test_what_is_dumped_can_be_validated_again() -> None:
    made = _Ours(name="a", place=_Place(street="High"), weights={"b": 1})
    assert made.model_dump()["place"] == {"street": "High", "number": 2}
    assert _Ours.model_validate(made.model_dump()) == made


def test_what_is_unchecked_stays_as_it_is() -> None:
    place = _Place.model_construct()
    assert _Strict(name="a", rest=place).rest is place


def test_a_secret_does_not_show() -> None:
    made = _Strict.model_validate({"name": "a", "key": "sk-secret"})
    assert made.key is not None
    assert made.key.get_secret_value() == "sk-secret"
    assert made.key == Secret("sk-secret")
    assert "sk-secret" not in f"{made!r} {made} {made.key} {made.model_dump()}"
