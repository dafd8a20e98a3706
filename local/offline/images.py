"""Images: generated, edited, varied; the answer is a small PNG of one colour."""

from __future__ import annotations

import base64
from collections.abc import Iterator, Mapping
from typing import Any, Final

from local.offline import canned
from local.offline.call import Call, boolean, document, named_events
from local.offline.catalog import CREATED
from local.offline.checks import (
    Range,
    check_model,
    check_one_of,
    check_range,
    check_types,
    missing,
    required_text,
    whole_number,
    wrong_type,
)
from local.offline.media import picture
from local.offline.multipart import FormFile
from local.offline.refusal import Refusal
from local.offline.script import Reply
from local.offline.shelf import Json
from local.offline.tokens import count_tokens

_OUTPUT_TOKENS: Final = {"low": 272, "medium": 1056, "high": 4160}
_IMAGE_TOKENS: Final = 194  # of each input image
_BYTES: Final = ("image/png", "image/jpeg", "image/webp", "application/octet-stream")
_NUMBERS: Final = ("n", "partial_images", "output_compression")
_TYPES: Final[dict[str, tuple[type, ...]]] = {
    **dict.fromkeys(("size", "quality", "background", "output_format", "response_format", "user"), (str,)),
    "stream": (bool,),
}
_MOST_IMAGES: Final = 16


def generate(call: Call) -> Reply:
    """POST /v1/images/generations."""
    required_text(call.body, "prompt")
    return _answer(call, call.body, "image_generation", "dall-e-2", images=0)


def edit(call: Call) -> Reply:
    """POST /v1/images/edits: a form with files, or JSON that refers to images."""
    if not call.received.is_form:
        required_text(call.body, "prompt")
        return _answer(call, call.body, "image_edit", "gpt-image-1", images=len(_references(call)))
    asked = _form_values(call)
    required_text(asked, "prompt")
    images = call.received.form.files_of("image")
    if not images:
        raise missing("image")
    for image in (*images, *call.received.form.files_of("mask")):
        _check_image(image)
    return _answer(call, asked, "image_edit", "dall-e-2", images=len(images))


def vary(call: Call) -> Reply:
    """POST /v1/images/variations."""
    if not call.received.is_form:
        raise Refusal(400, "The request is no multipart/form-data.")
    _check_image(call.received.form.file("image"))
    asked = _form_values(call)
    if asked.get("stream"):
        raise Refusal(400, "Unknown parameter: 'stream'.", param="stream", code="unknown_parameter")
    return _answer(call, asked, "image_variation", "dall-e-2", images=1)


def _references(call: Call) -> list[Json]:
    """The images that a JSON body refers to: by file, or by URL."""
    images = call.body.get("images")
    if not images:
        raise missing("images")
    if not isinstance(images, list):
        raise wrong_type("images", images, "an array of objects")
    if len(images) > _MOST_IMAGES:
        message = f"'images' has more than {_MOST_IMAGES} elements."
        raise Refusal(400, message, param="images", code="array_above_max_length")
    for index, image in enumerate(images):
        if not isinstance(image, dict):
            raise wrong_type(f"images[{index}]", image, "an object")
        if not (image.get("file_id") or image.get("image_url")):
            raise missing(f"images[{index}].image_url")
        if image.get("file_id"):
            call.account.files.get(str(image["file_id"]))
    return images


def _form_values(call: Call) -> Json:
    """The texts of a form, as the JSON of the same request would have them."""
    values: Json = dict(call.received.form.values())
    for name in _NUMBERS:
        if name in values:
            values[name] = whole_number(name, values[name])
    if "stream" in values:
        values["stream"] = boolean(values["stream"], "stream")
    return values


def _check_image(image: FormFile) -> None:
    if image.content_type not in _BYTES:
        message = f"Invalid file '{image.filename}': unsupported mimetype ('{image.content_type}')."
        raise Refusal(400, message, param="image", code="unsupported_file_mimetype")
    if not image.content:
        raise Refusal(400, f"Invalid file '{image.filename}': it is empty.", param="image", code="empty_file")


def _answer(call: Call, asked: Mapping[str, Any], kind: str, usual_model: str, *, images: int) -> Reply:
    model = asked.get("model") or usual_model
    check_model(model)
    check_types(asked, _TYPES)
    _check_numbers(asked, model)
    seed = canned.request_hash({**asked, "": kind})
    about, big_kb = _about(asked), call.behaviour.big_kb
    encoded = [_encoded(f"{seed}/{index}", about["output_format"], big_kb) for index in range(asked.get("n") or 1)]
    usage = {"usage": _usage(str(asked.get("prompt", "")), about["quality"], images, len(encoded))}
    if call.behaviour.nousage:
        usage = {}
    if asked.get("stream"):
        _check_stream(asked, model)
        about["created_at"] = CREATED
        return named_events(_events(kind, encoded, about, usage, f"{seed}/partial", asked.get("partial_images") or 0))
    if model.startswith("dall-e"):
        return document({"created": CREATED, "data": _old_data(asked, model, encoded, seed)})
    data = [{"b64_json": one} for one in encoded]
    return document({"created": CREATED, "data": data, **about, **usage})


def _check_numbers(asked: Mapping[str, Any], model: str) -> None:
    if asked.get("n") is not None:
        check_range("n", asked["n"], Range("integer", 1, 1 if model.startswith("dall-e-3") else 10))
    if asked.get("partial_images") is not None:
        check_range("partial_images", asked["partial_images"], Range("integer", 0, 3))
    if asked.get("response_format") is not None:
        if model.startswith("gpt-image"):
            message = "Unknown parameter: 'response_format'."
            raise Refusal(400, message, param="response_format", code="unknown_parameter")
        check_one_of("response_format", asked["response_format"], ("url", "b64_json"))
    if asked.get("output_format") is not None:
        check_one_of("output_format", asked["output_format"], ("png", "jpeg", "webp"))


def _check_stream(asked: Mapping[str, Any], model: str) -> None:
    if model.startswith("dall-e"):
        raise Refusal(400, "Streaming is not supported with this model.", param="stream", code="unsupported_value")
    if (asked.get("n") or 1) > 1:
        raise Refusal(400, "'n' must be 1 with 'stream'.", param="n", code="invalid_value")


def _about(asked: Mapping[str, Any]) -> Json:
    """What an answer says of its images; `auto` is resolved."""
    usual = {"background": "opaque", "output_format": "png", "quality": "low", "size": "1024x1024"}
    given = {name: asked.get(name) for name in usual}
    kept = {name: value if value not in (None, "auto") else usual[name] for name, value in given.items()}
    return kept if kept["quality"] in _OUTPUT_TOKENS else {**kept, "quality": "high"}


def _usage(prompt: str, quality: str, images: int, count: int) -> Json:
    text, seen, made = count_tokens(prompt), _IMAGE_TOKENS * images, _OUTPUT_TOKENS[quality] * count
    return {
        "input_tokens": text + seen,
        "input_tokens_details": {"text_tokens": text, "image_tokens": seen},
        "output_tokens": made,
        "output_tokens_details": {"text_tokens": 0, "image_tokens": made},
        "total_tokens": text + seen + made,
    }


def _old_data(asked: Mapping[str, Any], model: str, encoded: list[str], seed: str) -> list[Json]:
    """What the older models give: an address, unless base64 was asked for; nobody listens at the address."""
    revised = {"revised_prompt": f"A canned picture of: {asked.get('prompt')}"} if model.startswith("dall-e-3") else {}
    if asked.get("response_format") == "b64_json":
        return [{**revised, "b64_json": one} for one in encoded]
    addresses = [f"https://images.offline.invalid/{seed[:24]}-{index}.png" for index in range(len(encoded))]
    return [{**revised, "url": address} for address in addresses]


def _events(kind: str, encoded: list[str], about: Json, usage: Json, seed: str, partial_images: int) -> Iterator[Json]:
    for index in range(partial_images):
        partial = {"b64_json": _encoded(f"{seed}/{index}", about["output_format"], 0), "partial_image_index": index}
        yield {"type": f"{kind}.partial_image", **about, **partial}
    for one in encoded:
        yield {"type": f"{kind}.completed", **about, "b64_json": one, **usage}


def _encoded(seed: str, form: str, kilobytes: int) -> str:
    return base64.b64encode(picture(seed, form, kilobytes)).decode()
