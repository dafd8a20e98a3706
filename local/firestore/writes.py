"""What a write makes of a document (https://firebase.google.com/docs/firestore/reference/rest/v1/Write). Pure."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from local.firestore import values
from local.firestore.messages import Document, Message, Value
from local.firestore.names import field_path
from local.firestore.refusal import Refusal

_LONGEST_DOCUMENT_BYTES = 1024 * 1024
_LOWEST, _HIGHEST = -(2**63), 2**63 - 1
_NULL = Value(null_value=0)


def name_of(write: Message) -> str:
    operation = write.WhichOneof("operation")
    if operation == "delete":
        return str(write.delete)
    if operation == "update":
        return str(write.update.name)
    raise Refusal("UNIMPLEMENTED", f"The emulator knows no write of the kind {operation}.")


def check_precondition(write: Message, before: Message | None) -> None:
    precondition, name = write.current_document, name_of(write)
    match precondition.WhichOneof("condition_type"):
        case "exists" if precondition.exists and before is None:
            raise Refusal("NOT_FOUND", f"No document to update: {name}")
        case "exists" if not precondition.exists and before is not None:
            raise Refusal("ALREADY_EXISTS", f"Document already exists: {name}")
        case "update_time" if before is None or before.update_time != precondition.update_time:
            raise Refusal("FAILED_PRECONDITION", f"the stored version of {name} does not match the required one")


def apply(write: Message, before: Message | None, time: Message) -> tuple[Message | None, list[Message]]:
    """The document after a write, None where it is deleted, and the results of its transforms."""
    if write.WhichOneof("operation") == "delete":
        return None, []
    after = Document(name=write.update.name, create_time=time, update_time=time)
    if before is not None:
        after.create_time.CopyFrom(before.create_time)
    _update(after, write, before)
    results = [_transform(after, transform, time) for transform in write.update_transforms]
    values.check_fields(after.fields)
    if after.ByteSize() > _LONGEST_DOCUMENT_BYTES:
        raise Refusal("INVALID_ARGUMENT", f"Document '{after.name}' cannot be written because its size is too large.")
    if before is not None and before.fields == after.fields:
        after.update_time.CopyFrom(before.update_time)  # nothing has changed
    return after, results


def _update(after: Message, write: Message, before: Message | None) -> None:
    given = write.update.fields
    if not write.HasField("update_mask"):
        _copy_fields(after, write.update)
        return
    if before is not None:
        _copy_fields(after, before)
    for path in map(field_path, write.update_mask.field_paths):
        value = values.find(given, path)
        if value is None:
            values.remove(after.fields, path)
        else:
            values.put(after.fields, path, value)


def _copy_fields(to: Message, source: Message) -> None:
    for name, value in source.fields.items():
        to.fields[name].CopyFrom(value)


def _transform(document: Message, transform: Message, time: Message) -> Message:
    path, kind = field_path(transform.field_path), transform.WhichOneof("transform_type")
    if kind not in _TRANSFORMS:
        raise Refusal("INVALID_ARGUMENT", "A transform must say what it does.")
    before = values.find(document.fields, path)
    operand = time if kind == "set_to_server_value" else getattr(transform, kind)
    after, result = _TRANSFORMS[kind](before, operand)
    values.put(document.fields, path, after)
    return result


def _server_time(before: Message | None, time: Message) -> tuple[Message, Message]:
    value = Value(timestamp_value=time)
    return value, value


def _increment(before: Message | None, by: Message) -> tuple[Message, Message]:
    result = by
    if before is not None and values.type_of(before) == "number":
        result = _number(_content(before) + _content(by))
    return result, result


def _extreme(better: Callable[[Any, Any], bool]) -> Callable[[Message | None, Message], tuple[Message, Message]]:
    def choose(before: Message | None, operand: Message) -> tuple[Message, Message]:
        kept = before is not None and values.type_of(before) == "number"
        result = before if kept and not better(_content(operand), _content(before)) else operand
        return result, result

    return choose


def _append_missing(before: Message | None, operand: Message) -> tuple[Message, Message]:
    entries = _entries(before)
    for value in operand.values:
        if values.sort_key(value) not in map(values.sort_key, entries):
            entries.append(value)
    return Value(array_value={"values": entries}), _NULL


def _remove_all(before: Message | None, operand: Message) -> tuple[Message, Message]:
    unwanted = [values.sort_key(value) for value in operand.values]
    entries = [value for value in _entries(before) if values.sort_key(value) not in unwanted]
    return Value(array_value={"values": entries}), _NULL


_TRANSFORMS: Mapping[str, Callable[[Message | None, Message], tuple[Message, Message]]] = {
    "set_to_server_value": _server_time,
    "increment": _increment,
    "maximum": _extreme(lambda operand, before: operand > before),
    "minimum": _extreme(lambda operand, before: operand < before),
    "append_missing_elements": _append_missing,
    "remove_all_from_array": _remove_all,
}


def _content(number: Message) -> Any:
    if values.type_of(number) != "number":
        raise Refusal("INVALID_ARGUMENT", "This transform takes a number.")
    return getattr(number, number.WhichOneof("value_type"))


def _number(number: int | float) -> Message:
    if isinstance(number, float):
        return Value(double_value=number)
    return Value(integer_value=min(max(number, _LOWEST), _HIGHEST))


def _entries(value: Message | None) -> list[Message]:
    return list(value.array_value.values) if value is not None and value.HasField("array_value") else []
