"""Embeddings: unit vectors that depend on the text alone, and are the closer the more tokens two texts share."""

from __future__ import annotations

import base64
import hashlib
import math
import struct
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Final

from local.offline.call import Call, document
from local.offline.catalog import split_model
from local.offline.checks import Range, check_model, check_one_of, check_range, missing, wrong_type
from local.offline.refusal import Refusal
from local.offline.script import Reply
from local.offline.shelf import Json
from local.offline.tokens import split_tokens

_DIMENSIONS: Final = {"text-embedding-3-large": 3072}
_USUAL_DIMENSIONS: Final = 1536
_MOST_INPUTS: Final = 2048
_MOST_TOKENS: Final = 8192  # in one input


def create(call: Call) -> Reply:
    """POST /v1/embeddings."""
    body = call.body
    check_model(body.get("model"))
    texts = token_lists(body.get("input"), "input")
    form = body.get("encoding_format") or "float"
    check_one_of("encoding_format", form, ("float", "base64"))
    size = _size(body)
    rows = [_row(index, vector(tokens, size), form) for index, tokens in enumerate(texts)]
    count = sum(len(tokens) for tokens in texts)
    usage = {} if call.behaviour.nousage else {"usage": {"prompt_tokens": count, "total_tokens": count}}
    return document({"object": "list", "data": rows, "model": body["model"], **usage})


def token_lists(given: object, param: str) -> list[list[str]]:
    """The inputs of a request, each as tokens: a text, texts, the numbers of tokens, or several lists of these."""
    if given is None:
        raise missing(param)
    if isinstance(given, str):
        return [_tokens(given, param)]
    if not isinstance(given, list):
        raise wrong_type(param, given, "a string or an array")
    if not 1 <= len(given) <= _MOST_INPUTS:
        code = "array_above_max_length" if given else "empty_array"
        raise Refusal(400, f"'{param}' must have 1 to {_MOST_INPUTS} elements.", param=param, code=code)
    if _is_numbers(given):
        return [_tokens(given, param)]
    return [_tokens(one, f"{param}[{index}]") for index, one in enumerate(given)]


def vector(tokens: Iterable[str], size: int) -> list[float]:
    """The unit vector of a text: each token adds to a few places, which its hash chooses."""
    values = [0.0] * size
    for token in tokens:
        digest = hashlib.sha256(token.lower().strip().encode()).digest()
        for place in range(0, len(digest), 4):
            number = int.from_bytes(digest[place : place + 4])
            values[(number >> 1) % size] += 1.0 if number & 1 else -1.0
    length = math.sqrt(sum(value * value for value in values))
    return [value / length for value in values] if length else [1.0, *values[1:]]


def likeness(one: Sequence[float], other: Sequence[float]) -> float:
    """The cosine of two unit vectors."""
    return sum(a * b for a, b in zip(one, other, strict=True))


def _is_numbers(given: list[object]) -> bool:
    return all(isinstance(one, int) and not isinstance(one, bool) for one in given)


def _tokens(given: object, param: str) -> list[str]:
    if isinstance(given, list) and given and _is_numbers(given):
        tokens = [str(number) for number in given]
    elif isinstance(given, str):
        tokens = split_tokens(given)
    else:
        raise wrong_type(param, given, "a string or an array of integers")
    if not tokens:
        raise Refusal(400, f"'{param}' cannot be an empty string.", param=param, code="invalid_value")
    if len(tokens) > _MOST_TOKENS:
        message = f"This model's maximum context length is {_MOST_TOKENS} tokens; '{param}' has {len(tokens)}."
        raise Refusal(400, message, param=param, code="context_length_exceeded")
    return tokens


def _size(body: Mapping[str, Any]) -> int:
    model, _ = split_model(body["model"])
    full = _DIMENSIONS.get(model, _USUAL_DIMENSIONS)
    if (wanted := body.get("dimensions")) is None:
        return full
    if model == "text-embedding-ada-002":
        raise Refusal(400, "This model does not support specifying dimensions.", param="dimensions")
    check_range("dimensions", wanted, Range("integer", 1, full))
    return int(wanted)


def _row(index: int, values: list[float], form: str) -> Json:
    packed = struct.pack(f"<{len(values)}f", *values)
    # What floats are written as is what the base64 holds: both have 32 bits.
    embedding = base64.b64encode(packed).decode() if form == "base64" else struct.unpack(f"<{len(values)}f", packed)
    return {"object": "embedding", "index": index, "embedding": embedding}
