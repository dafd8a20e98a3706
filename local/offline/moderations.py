"""Moderations: a text is flagged for the words in it, an image never."""

from __future__ import annotations

from typing import Any, Final

from local.offline.call import Call, document
from local.offline.checks import check_model, check_one_of, check_type, missing, wrong_type
from local.offline.refusal import Refusal
from local.offline.script import Reply
from local.offline.shelf import Json, new_id

_WORDS: Final = {  # category -> what flags it
    "harassment": "harass",
    "harassment/threatening": "threaten",
    "hate": "hate",
    "hate/threatening": "hate threat",
    "illicit": "illicit",
    "illicit/violent": "bomb",
    "self-harm": "self-harm",
    "self-harm/instructions": "how to self-harm",
    "self-harm/intent": "harm myself",
    "sexual": "sexual",
    "sexual/minors": "sexual minors",
    "violence": "kill",
    "violence/graphic": "gore",
}
_OF_IMAGES: Final = (
    "self-harm", "self-harm/instructions", "self-harm/intent", "sexual", "violence", "violence/graphic",
)  # fmt: skip
_DEFAULT_MODEL: Final = "omni-moderation-latest"


def create(call: Call) -> Reply:
    """POST /v1/moderations: one result for each text, or one for a list of text and image parts."""
    body = call.body
    model = body.get("model") or _DEFAULT_MODEL
    check_model(model)
    results = [_result(text, kinds) for text, kinds in _inputs(body.get("input"))]
    return document({"id": new_id("modr-"), "model": model, "results": results})


def _inputs(given: Any) -> list[tuple[str, list[str]]]:
    """Each input's text and the kinds of its parts."""
    if given is None:
        raise missing("input")
    if isinstance(given, str):
        return [(given, ["text"])]
    check_type("input", given, (str, list))
    if not given:
        raise Refusal(400, "'input' is empty; it needs at least one.", param="input", code="empty_array")
    if all(isinstance(one, str) for one in given):
        return [(one, ["text"]) for one in given]
    for index, part in enumerate(given):
        _check_part(f"input[{index}]", part)
    kinds = ["text" if part["type"] == "text" else "image" for part in given]
    return [(" ".join(part.get("text", "") for part in given), sorted(set(kinds)))]


def _check_part(at: str, part: object) -> None:
    if not isinstance(part, dict):
        raise wrong_type(at, part, "an object")
    check_one_of(f"{at}.type", part.get("type"), ("text", "image_url"))
    wanted: dict[str, tuple[type, ...]] = {"text": (str,), "image_url": (dict,)}
    check_type(f"{at}.{part['type']}", part.get(part["type"]), wanted[part["type"]])


def _result(text: str, kinds: list[str]) -> Json:
    flags = {category: word in text.lower() for category, word in _WORDS.items()}
    return {
        "flagged": any(flags.values()),
        "categories": flags,
        "category_scores": {category: 0.98 if flag else 0.0001 for category, flag in flags.items()},
        "category_applied_input_types": {
            category: [kind for kind in kinds if kind == "text" or category in _OF_IMAGES] for category in flags
        },
    }
