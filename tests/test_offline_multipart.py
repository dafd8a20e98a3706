"""The strict reader of forms."""

from __future__ import annotations

import pytest

from local.offline.multipart import Form, FormFile, parse_form
from local.offline.refusal import Refusal

_TYPE = "multipart/form-data; boundary=b"


def _part(disposition: str, content: bytes, *headers: str) -> bytes:
    head = "\r\n".join([f"Content-Disposition: form-data; {disposition}", *headers])
    return b"--b\r\n" + head.encode() + b"\r\n\r\n" + content + b"\r\n"


def test_texts_and_files_are_told_apart() -> None:
    body = (
        _part('name="model"', "offline é".encode())
        + _part('name="include[]"', b"a")
        + _part('name="include[]"', b"b")
        + _part('name="image[0]"; filename="a \\"b\\".png"', b"\r\n--\r\n--c", "content-type: image/png")
        + b"--b--\r\n"
    )
    form = parse_form(_TYPE, body)
    file = FormFile('a "b".png', "image/png", b"\r\n--\r\n--c")
    assert form == Form((("model", "offline é"), ("include[]", "a"), ("include[]", "b")), (("image[0]", file),))
    assert (form.texts_of("include"), form.files_of("image"), form.file("image")) == (["a", "b"], [file], file)


@pytest.mark.parametrize(
    ("content_type", "body"),
    [
        pytest.param("multipart/form-data", b"", id="no boundary"),
        pytest.param(_TYPE, b"", id="empty"),
        pytest.param(_TYPE, _part('name="a"', b"x"), id="no end"),
        pytest.param(_TYPE, b"x" + _part('name="a"', b"x") + b"--b--", id="something before"),
        pytest.param(_TYPE, b"--b\r\nx\r\n--b--", id="no headers"),
        pytest.param(_TYPE, _part("x", b"x") + b"--b--", id="no name"),
        pytest.param(_TYPE, _part('name="a"', b"\xff") + b"--b--", id="no UTF-8"),
    ],
)
def test_what_is_no_form_is_refused(content_type: str, body: bytes) -> None:
    with pytest.raises(Refusal) as refused:
        parse_form(content_type, body)
    assert refused.value.status == 400


@pytest.mark.parametrize("boundary", ['"b"', "b; charset=utf-8"])
def test_a_boundary_may_be_quoted(boundary: str) -> None:
    body = _part('name="a"', b"x") + b"--b--"
    assert parse_form(f"multipart/form-data; boundary={boundary}", body).values() == {"a": "x"}
