"""The form of app keys."""

from __future__ import annotations

import pytest

from core import app_keys


def test_generated_keys_are_well_formed_and_distinct() -> None:
    keys = {app_keys.generate() for _ in range(1000)}
    assert len(keys) == 1000
    assert all(app_keys.is_well_formed(key) for key in keys)
    assert all(key.startswith("tfl_") and len(key) == 42 for key in keys)


def test_any_one_wrong_character_is_noticed() -> None:
    key = app_keys.generate()
    for place, character in enumerate(key):
        other = "x" if character != "x" else "y"
        assert not app_keys.is_well_formed(key[:place] + other + key[place + 1 :])


@pytest.mark.parametrize("key", ["", "tfl_", "sk-proj-1234", "tfl_" + "é" * 38, "tfl_" + "\ud800" * 38, "a" * 42])
def test_what_is_no_key(key: str) -> None:
    assert not app_keys.is_well_formed(key)


def test_the_digest_is_the_key_s_sha256() -> None:
    assert app_keys.digest("tfl_") == "9e82926dd5bf6458c4a353771b98dc7a2bbb6820f0d740eaa3cde006dd1d2467"
