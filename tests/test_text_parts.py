"""Long texts are cut where it hurts least, and nothing of them is lost."""

from __future__ import annotations

import random

import pytest

from core.text_parts import cut, encoded_bytes, split

_CHARACTERS = (
    "e\u0301",  # e and an acute accent
    "👩\u200d👩\u200d👧",
    "👍🏽",
    "🇨🇭",
    "\r\n",
    "\u0915\u094d\u0937\u093f",  # a Devanagari cluster
    "✈\ufe0f",
)


@pytest.mark.parametrize("seed", range(30))
def test_joined_the_parts_are_the_text(seed: int) -> None:
    chance = random.Random(seed)
    alphabet = ["a", "é", "漢", "🍀", " ", "\n", "\n\n", ". ", '"', "\\", "\x01", "。", *_CHARACTERS]
    text = "".join(chance.choices(alphabet, k=chance.randrange(1, 3000)))
    most = chance.randrange(100, 2000)
    parts = split(text, most)
    assert "".join(parts) == text
    assert all(0 < encoded_bytes(part) <= most for part in parts)
    # A part has half of what it may have at least: so their number is bounded.
    assert len(parts) <= 12 * encoded_bytes(text) // most + 1


@pytest.mark.parametrize(
    ("text", "parts"),
    [
        ("One two. Three\n\nFour five six", ["One two. Three\n\n", "Four five six"]),
        ("One two three\nfour. Five six se", ["One two three\n", "four. Five six se"]),
        ("One two three. Four five six seven", ["One two three. ", "Four five six seven"]),
        ("雨が降った。傘を買った", ["雨が降った。", "傘を買った"]),
        ("umbrella umbrella umbrella", ["umbrella umbrella ", "umbrella"]),
        ("a" * 45, ["a" * 20, "a" * 20, "a" * 5]),
    ],
)
def test_where_a_part_ends(text: str, parts: list[str]) -> None:
    assert split(text, 20) == parts


@pytest.mark.parametrize("character", _CHARACTERS)
@pytest.mark.parametrize("before", range(40))
def test_no_character_is_cut(character: str, before: int) -> None:
    size = encoded_bytes(character)
    for part in split("x" * before + character * 10, max(40, size)):
        rest = part.lstrip("x")
        assert len(rest) % len(character) == 0
        assert rest == character * (len(rest) // len(character))


@pytest.mark.parametrize("piece", [".", ".'", "\n ", "\r", "。", "\u200d", "🇨", "e\u0301\u0301"])
def test_a_hostile_text_is_cut_as_quickly(piece: str) -> None:
    """Were the time for a part the square of its length, this would take minutes."""
    text = piece * 400_000
    assert "".join(split(text, 200_000)) == text


def test_cut() -> None:
    assert cut("short", 10) == "short"
    assert cut("one two three four", 12) == "one two "
    assert cut("", 10) == ""
    assert encoded_bytes(cut("漢" * 1000, 100)) <= 100
