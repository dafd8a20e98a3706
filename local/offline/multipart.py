"""A strict reader of multipart/form-data: what OpenAI's clients send beside JSON."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

from local.offline.refusal import Refusal

_BOUNDARY: Final = re.compile(r'multipart/form-data\s*;(?:.*;)?\s*boundary=("?)([^";,]{1,70})\1', re.IGNORECASE)
_ATTRIBUTE: Final = re.compile(r';\s*(name|filename\*?)=(?:"((?:\\.|[^"\\])*)"|([^;"]+))', re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class FormFile:
    """A part with a file name."""

    filename: str
    content_type: str
    content: bytes


@dataclass(frozen=True, slots=True)
class Form:
    """The parts of a form in their order, the texts apart from the files."""

    texts: tuple[tuple[str, str], ...]
    files: tuple[tuple[str, FormFile], ...]

    def values(self) -> dict[str, str]:
        """The texts by name; of two with the same name the last counts."""
        return dict(self.texts)

    def texts_of(self, name: str) -> list[str]:
        """All texts of a name, written `name` or `name[]`."""
        return [text for key, text in self.texts if key in (name, f"{name}[]")]

    def files_of(self, name: str) -> list[FormFile]:
        """All files of a name, written `name`, `name[]` or `name[0]`."""
        return [file for key, file in self.files if re.sub(r"\[\d*\]$", "", key) == name]

    def file(self, name: str) -> FormFile:
        """The one file of a name; Refusal 400 if it is not there."""
        found = self.files_of(name)
        if not found:
            message = f"Missing required parameter: '{name}'."
            raise Refusal(400, message, param=name, code="missing_required_parameter")
        return found[0]


def is_form(content_type: str) -> bool:
    """Whether a request's content type is that of a form."""
    return content_type.lower().startswith("multipart/form-data")


def parse_form(content_type: str, body: bytes) -> Form:
    """The form in a body; Refusal 400 where it is not one."""
    found = _BOUNDARY.match(content_type)
    if found is None:
        raise _refused("The request is no multipart/form-data with a boundary.")
    texts: list[tuple[str, str]] = []
    files: list[tuple[str, FormFile]] = []
    for headers, content in _parts(body, found[2].encode()):
        attributes = _attributes(headers.get("content-disposition", ""))
        if "name" not in attributes:
            raise _refused("A part of the form has no name.")
        if "filename" in attributes:
            kind = headers.get("content-type", "application/octet-stream")
            files.append((attributes["name"], FormFile(attributes["filename"], kind, content)))
        else:
            texts.append((attributes["name"], _text(content)))
    return Form(tuple(texts), tuple(files))


def _parts(body: bytes, boundary: bytes) -> Iterator[tuple[dict[str, str], bytes]]:
    """The headers and the content of each part; whatever stands before the first boundary is none."""
    first, *parts = (b"\r\n" + body).split(b"\r\n--" + boundary)
    if first or not parts or not parts[-1].startswith(b"--"):
        raise _refused("The form does not begin and end with its boundary.")
    for part in parts[:-1]:
        head, separator, content = part.removeprefix(b"\r\n").partition(b"\r\n\r\n")
        if not separator:
            raise _refused("A part of the form has no headers.")
        lines = (line.partition(":") for line in _text(head).split("\r\n"))
        yield {name.strip().lower(): value.strip() for name, _, value in lines}, content


def _attributes(disposition: str) -> dict[str, str]:
    found = {name.lower(): quoted or plain for name, quoted, plain in _ATTRIBUTE.findall(disposition)}
    return {name: value.replace('\\"', '"').replace("%22", '"') for name, value in found.items()}


def _text(content: bytes) -> str:
    try:
        return content.decode()
    except UnicodeDecodeError:
        raise _refused("A text of the form is not UTF-8.") from None


def _refused(message: str) -> Refusal:
    return Refusal(400, f"Could not parse the multipart form: {message}")
