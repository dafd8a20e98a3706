"""Cutting a long text into parts, at the best place that there is: nothing is lost, and no character is cut. Pure."""

from __future__ import annotations

import re
import unicodedata

from pydantic_core import to_json

_PARAGRAPH = re.compile(r"(?:\r\n|\n|\r)[ \t]*(?:\r\n|\n|\r)\s*")
_LINE = re.compile(r"(?:\r\n|\n|\r|\u2028)+")
_SENTENCE = re.compile(r"(?<![.!?…])[.!?…]++[\"'”’»)\]]*+\s+|[。！？]+[」』”’）]*\s*")  # noqa: RUF001 - the East Asian ones are meant
_WORD = re.compile(r"\s+")
_BEST_FIRST = (_PARAGRAPH, _LINE, _SENTENCE, _WORD)
_JOINER = "\u200d"
_SKIN_TONES = ("\U0001f3fb", "\U0001f3ff")
_FLAG_LETTERS = ("\U0001f1e6", "\U0001f1ff")
_VIRAMA = 9
"""The combining class of what joins two consonants of an Indic script."""
_LONGEST_CHARACTER = 64
"""So many code points are looked back over for where a character begins."""


def encoded_bytes(text: str) -> int:
    """How much a text takes in a JSON body, without its quotation marks."""
    return len(to_json(text)) - 2


def split(text: str, most_bytes: int) -> list[str]:
    """Parts of at most `most_bytes` each, encoded as in a JSON body: joined, they are the text again.

    A part ends where a paragraph does, if one ends in its second half; else where a line, a sentence or a word does.
    """
    parts, start = [], 0
    while start < len(text):
        end = _end(text, start, most_bytes)
        parts.append(text[start:end])
        start = end
    return parts


def cut(text: str, most_bytes: int) -> str:
    """The beginning of a text, of at most `most_bytes` as `split` counts them."""
    return text if encoded_bytes(text) <= most_bytes else split(text[: most_bytes + 1], most_bytes)[0]


def _end(text: str, start: int, most_bytes: int) -> int:
    """Where the part ends that begins at `start`."""
    end = min(len(text), start + most_bytes)  # a character has a byte at least
    while (size := encoded_bytes(text[start:end])) > most_bytes:
        end = start + max(1, min((end - start) * most_bytes // size, end - start - 1))
    if end == len(text):
        return end
    half = start + (end - start) // 2
    for boundary in _BEST_FIRST:
        last = None
        for found in boundary.finditer(text, half, end):
            if not _is_within(text, found.end()):
                last = found.end()
        if last is not None:
            return last
    return _whole_character(text, start, end)


def _whole_character(text: str, start: int, end: int) -> int:
    """The last place up to `end` where no character is cut, as a reader sees characters."""
    for place in range(end, max(start, end - _LONGEST_CHARACTER), -1):
        if not _is_within(text, place):
            return place
    return end


def _is_within(text: str, place: int) -> bool:
    """Whether what is before and after a place belongs together.

    A good part of the rules for grapheme clusters: https://www.unicode.org/reports/tr29/#Grapheme_Cluster_Boundaries
    """
    before, after = text[place - 1], text[place]
    if _JOINER in (before, after) or unicodedata.category(after) in ("Mn", "Me", "Mc"):
        return True
    if _SKIN_TONES[0] <= after <= _SKIN_TONES[1]:
        return True
    if before == "\r" and after == "\n":
        return True
    if unicodedata.combining(before) == _VIRAMA and unicodedata.category(after) == "Lo":
        return True
    return _is_flag_letter(after) and _flag_letters_before(text, place) % 2 == 1


def _flag_letters_before(text: str, place: int) -> int:
    count = 0
    while count < min(place, _LONGEST_CHARACTER) and _is_flag_letter(text[place - 1 - count]):
        count += 1
    return count


def _is_flag_letter(character: str) -> bool:
    return _FLAG_LETTERS[0] <= character <= _FLAG_LETTERS[1]
