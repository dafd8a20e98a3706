"""What `settlement replay` finds in logs as the clouds' own tools write them."""

from __future__ import annotations

import csv
import io
import json
from typing import Any

import pytest

from core import postponed

_ID = "0123456789abcdef"
_EVENT: dict[str, Any] = {
    "severity": "ERROR",
    "event": "settlement_postponed",
    "app": "web-shop",
    "shard": 0,
    "id": _ID,
    "amounts": {"all": -400_000, "d/2026-11-25": 5},
    "unmark": f"r/{_ID}",
}
_LINE = json.dumps(_EVENT)
_OTHER = json.dumps({"severity": "INFO", "event": "request", "path": "/settlement_postponed"})
_PAYLOAD = {name: value for name, value in _EVENT.items() if name != "severity"}  # Google's logs take it out


def _csv(*messages: str) -> str:
    written = io.StringIO()
    rows = csv.writer(written, quoting=csv.QUOTE_ALL)
    rows.writerow(["TimeGenerated [UTC]", "Message", "event"])
    rows.writerows(["11/25/2026, 6:00:00 PM", message, "settlement_postponed"] for message in messages)
    return "\ufeff" + written.getvalue()


def _column(*messages: str) -> str:
    written = io.StringIO()
    csv.writer(written).writerows([message] for message in messages)
    return written.getvalue()


_AWS = {
    "events": [
        {"logStreamName": "2026/11/25/[$LATEST]0", "timestamp": 1, "message": f"{line}\n", "eventId": "1"}
        for line in (_OTHER, _LINE)
    ],
    "searchedLogStreams": [],
}
_GOOGLE = [
    {"insertId": "1", "jsonPayload": {"event": "request", "path": "/settlement_postponed"}, "severity": "INFO"},
    {"insertId": "2", "jsonPayload": _PAYLOAD, "severity": "ERROR"},
    {"insertId": "3", "textPayload": "a line of something else"},
]
_FLOATS = {**_PAYLOAD, "shard": 0.0, "amounts": {"all": -400_000.0, "d/2026-11-25": 5.0}}
_AZURE_ROWS = [{"Message": _OTHER, "TableName": "PrimaryResult"}, {"Message": _LINE, "event": "settlement_postponed"}]
_AZURE_TABLES = {"tables": [{"columns": [], "rows": [["request", _OTHER], ["settlement_postponed", _LINE]]}]}


@pytest.mark.parametrize(
    "log",
    [
        pytest.param(f"{_OTHER}\n{_LINE}\n", id="as it was written"),
        pytest.param(f"START\n2026-11-25T18:00:00Z {_LINE} trailing\n", id="with something before and behind"),
        pytest.param(json.dumps(_AWS, indent=4), id="aws logs filter-log-events"),
        pytest.param(json.dumps(_AWS) + "\n" + json.dumps({"events": []}), id="page after page"),
        pytest.param(f"EVENTS\t1\t2\t{_OTHER}\nEVENTS\t1\t2\t{_LINE}\tstream\n", id="aws --output text"),
        pytest.param(json.dumps({"id": "1", "event": _LINE}), id="an event as the text of another"),
        pytest.param(json.dumps({"message": _LINE, "level": "ERROR"}), id="AWS Lambda's own JSON format"),
        pytest.param(json.dumps(_GOOGLE, indent=2), id="gcloud logging read"),
        pytest.param("\n".join(map(json.dumps, _GOOGLE)), id="Google, an entry a line"),
        pytest.param(json.dumps([{"textPayload": _LINE}], indent=2), id="gcloud, as text"),
        pytest.param(json.dumps([{"jsonPayload": _FLOATS}]), id="gcloud, numbers as Google keeps them"),
        pytest.param(json.dumps(_AZURE_ROWS, indent=2), id="az monitor log-analytics query"),
        pytest.param(json.dumps(_AZURE_TABLES), id="Azure's API"),
        pytest.param(_csv(_OTHER, _LINE), id="Azure's portal, as CSV"),
        pytest.param(_column(_OTHER, _LINE), id="CSV of one column"),
        pytest.param(f'            "message": {json.dumps(_LINE)},\n', id="a line cut out of JSON"),
    ],
)
def test_exports_are_understood(log: str) -> None:
    left = postponed.read(log)
    [one] = left.settlements
    found = (one["app"], one["shard"], one["amounts"], one["unmark"])
    assert found == ("web-shop", 0, _EVENT["amounts"], _EVENT["unmark"])
    assert {type(number) for number in (one["shard"], *one["amounts"].values())} == {int}  # the API takes no others
    assert (left.unmarked, left.not_understood) == (0, 0)


@pytest.mark.parametrize("wrap", [json.dumps, lambda event: json.dumps([{"jsonPayload": event}], indent=2)])
def test_what_was_made_later_is_not_left(wrap: Any) -> None:
    made = {"severity": "INFO", "event": "settlement_made", "app": "web-shop", "shard": 0, "id": _ID}
    assert postponed.read(f"{wrap(_EVENT)}\n{wrap(made)}\n") == ([], 0, 0)


@pytest.mark.parametrize(
    ("log", "not_understood"),
    [
        (f"{_LINE[:90]}\n", 1),
        ("event=settlement_postponed\nevent=settlement_postponed\n", 2),
        (json.dumps({"events": [{"message": _LINE[:90]}, {"message": _LINE[:90]}]}), 2),
        (json.dumps([_LINE[:90], _LINE]), 1),
        (json.dumps([{"event": "settlement_postponed", "app": "web-shop"}]), 1),
        (json.dumps(_EVENT | {"amounts": {"all": "many"}}), 1),
        (json.dumps(_EVENT | {"shard": 0.5}), 1),
        (json.dumps(_EVENT | {"id": 7}), 1),
        ("[" * 100_000 + "settlement_postponed", 1),
        (json.dumps([{"values": ["settlement_postponed", "web-shop"]}]), 1),
        (_OTHER, 0),
        ("", 0),
    ],
)
def test_what_is_not_understood_is_counted(log: str, not_understood: int) -> None:
    assert postponed.read(log).not_understood == not_understood
