"""What clients are told of the aliases in `trefoil.toml`."""

from __future__ import annotations

import json

from core import model_names


def test_aliases_stand_before_upstream_s_models() -> None:
    listed = b'{"object": "list", "data": [{"id": "gpt-4o"}, {"id": "fast"}], "extra": 1}'
    answer = json.loads(model_names.with_aliases(listed, ["fast", "house"]))
    assert [model["id"] for model in answer["data"]] == ["fast", "house", "gpt-4o"]
    assert (answer["object"], answer["extra"]) == ("list", 1)
    assert set(answer["data"][0]) == {"id", "object", "created", "owned_by"}


def test_without_aliases_the_list_stays_as_it_came() -> None:
    for listed in (b'{ "data":[] }', b'{"data": "odd"}'):
        assert model_names.with_aliases(listed, []) == listed
    assert model_names.with_aliases(b'{"data": "odd"}', ["fast"]) == b'{"data": "odd"}'


def test_an_alias_is_described_as_a_model() -> None:
    assert json.loads(model_names.describe("fast"))["id"] == "fast"
