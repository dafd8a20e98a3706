"""The operator's commands: what each one asks of the admin API, and what it prints."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Callable, Iterator, Mapping
from typing import Any
from urllib.parse import quote, urlencode

from core import postponed, tables
from core.command_line import without_none
from core.operator_api import OperatorApi, Refused

_SECONDS_PER_DAY = 86_400
_LIMITS = (
    "requests_per_minute",
    "tokens_per_minute",
    "budget_day_usd",
    "budget_month_usd",
    "budget_total_usd",
    "models",
    "endpoints",
    "max_output_tokens",
    "shards",
)
_APPS = {
    "id": "APP",
    "state": "STATE",
    "created": "CREATED",
    "requests_per_minute": "REQUESTS/MIN",
    "tokens_per_minute": "TOKENS/MIN",
    "budget_day_usd": "USD/DAY",
    "budget_month_usd": "USD/MONTH",
    "budget_total_usd": "USD IN ALL",
}
_KEYS = {
    "id": "KEY ID",
    "app": "APP",
    "shown": "KEY",
    "created": "CREATED",
    "state": "STATE",
    "ends": "ENDS (UTC)",
    "label": "LABEL",
}
_USAGE = {
    "day": "DAY (UTC)",
    "app": "APP",
    "endpoint": "ENDPOINT",
    "model": "MODEL",
    "requests": "REQUESTS",
    "input_tokens": "INPUT TOKENS",
    "cached_input_tokens": "OF THEM CACHED",
    "output_tokens": "OUTPUT TOKENS",
    "cost_usd": "COST (USD)",
}
_BUDGETS = {
    "window": "BUDGET",
    "limit_usd": "LIMIT (USD)",
    "spent_usd": "SPENT (USD)",
    "reserved_usd": "RESERVED (USD)",
    "remaining_usd": "LEFT (USD)",
    "resets": "RESETS (UTC)",
}
_RESERVATIONS = {
    "id": "RESERVATION",
    "app": "APP",
    "made": "MADE (UTC)",
    "age_seconds": "AGE (S)",
    "endpoint": "ENDPOINT",
    "model": "MODEL",
    "tokens": "TOKENS",
    "reserved_usd": "RESERVED (USD)",
}


class Commands:
    """Runs one command."""

    def __init__(self, api: OperatorApi) -> None:
        self._api = api

    def run(self, options: argparse.Namespace) -> None:
        """
        Raises:
            Refused: it was not done.
        """
        match options.noun, vars(options).get("verb"):
            case "app", "list":
                _print_list(options, _APPS, [*self._api.all("/apps")], _flat)
            case "app", "create":
                created = self._api.call("POST", "/apps", {"id": options.name, **_settings(options)})
                _print_app(options, created)
            case "app", "show":
                _print_app(options, self._api.call("GET", _app(options.name)))
            case "app", "delete":
                self._delete_app(options)
            case "app", verb:
                self._change_app(options, _settings(options) if verb == "set" else {"enabled": verb == "enable"})
            case "key", "new":
                self._new_key(options)
            case "key", "list":
                keys = [key for app in self._app_ids(options) for key in self._api.all(f"{_app(app)}/keys")]
                keys.sort(key=lambda key: (key["app"], key["created_at"]))
                _print_list(options, _KEYS, keys, _shown_key)
            case "key", verb:
                self._handle_key(options, str(verb))
            case "usage", _:
                self._usage(options)
            case "settlement", _:
                self._replay(options)
            case _, "list":
                _print_list(options, _RESERVATIONS, [*self._reservations(options)], _shown_reservation)
            case _:
                self._release(options)

    def _change_app(self, options: argparse.Namespace, change: Mapping[str, object]) -> None:
        if not change:
            raise Refused(f"Nothing to change: `app set {options.name} --help` lists what can be set.")
        version = vars(options).get("if_version")
        if version is None:
            version = self._api.call("GET", _app(options.name))["version"]
        _print_app(options, self._api.call("PATCH", _app(options.name), change, version=version))

    def _delete_app(self, options: argparse.Namespace) -> None:
        app = self._api.call("GET", _app(options.name))
        _confirm(options, f"Delete the app '{options.name}', its keys, its usage and all that is kept of it?")
        _print_done(
            options,
            self._api.call("DELETE", _app(options.name), version=app["version"]),
            f"The app '{options.name}' is deleted.",
        )

    def _new_key(self, options: argparse.Namespace) -> None:
        wanted = {"label": options.label, **_lifetime(options)}
        path = f"{_app(options.app)}/keys"
        try:
            key = self._api.call("POST", path, wanted)
        except Refused as refused:
            if refused.code != "not_found":
                raise
            self._api.call("POST", "/apps", {"id": options.app})
            print(f"The app '{options.app}' is new, and has no limits.", file=sys.stderr)
            key = self._api.call("POST", path, wanted)
        _print_key(options, key)

    def _handle_key(self, options: argparse.Namespace, verb: str) -> None:
        key = self._find_key(options)
        path = f"{_app(key['app'])}/keys/{key['id']}"
        match verb:
            case "rotate":
                asked = {"overlap_seconds": options.overlap, **_lifetime(options)}
                new = self._api.call("POST", f"{path}/rotate", asked)
                _print_key(options, new)
                print(f"The old key ends at {tables.minute(new['replaces']['expires_at'])} UTC.", file=sys.stderr)
            case "delete":
                _confirm(options, f"Delete the key {key['id']} ({_shown_key(key)['shown']}) of '{key['app']}'?")
                deleted = self._api.call("DELETE", path, version=key["version"])
                _print_done(options, deleted, f"The key {key['id']} is deleted.")
            case _:
                changed = self._api.call("PATCH", path, {"enabled": verb == "enable"}, version=key["version"])
                _print_done(options, changed, f"The key {key['id']} is {verb}d.")

    def _find_key(self, options: argparse.Namespace) -> Any:
        for app in self._app_ids(options):
            for key in self._api.all(f"{_app(app)}/keys"):
                if key["id"] == options.id:
                    return key
        raise Refused(f"There is no key with the id '{options.id}': `key list` shows the ids.")

    def _app_ids(self, options: argparse.Namespace) -> list[str]:
        return [options.app] if options.app else [app["id"] for app in self._api.all("/apps")]

    def _usage(self, options: argparse.Namespace) -> None:
        asked = {"from": options.first, "to": options.last, "group_by": options.by, "format": "csv" * options.csv}
        query = urlencode({name: value for name, value in asked.items() if value})
        answer = self._api.text("GET", f"{_app(options.app) if options.app else ''}/usage?{query}")
        if options.csv:
            print(answer, end="")
            return
        report = json.loads(answer)
        if options.json:
            _print_json(report)
            return
        rows = report["data"]
        columns = {name: told for name, told in _USAGE.items() if name in report["group_by"] or name in report["total"]}
        print(tables.table(columns, [*rows, {report["group_by"][0]: "in all", **report["total"]}]))
        if "budgets" in report:
            budgets = report["budgets"].items()
            told = [{"window": name, "resets": tables.minute(one["resets_at"]), **one} for name, one in budgets]
            print(f"\n{tables.table(_BUDGETS, told)}")

    def _reservations(self, options: argparse.Namespace) -> Iterator[dict[str, Any]]:
        for app in self._app_ids(options):
            for one in self._api.call("GET", f"{_app(app)}/reservations")["data"]:
                yield {**one, "app": app}

    def _release(self, options: argparse.Namespace) -> None:
        found = [one for one in self._reservations(options) if one["id"] == options.id]
        if not found:
            raise Refused(f"There is no standing reservation '{options.id}': `reservation list` shows them.")
        app, amount = found[0]["app"], f"{found[0]['reserved_usd']} USD"
        what = f"charge '{app}' {amount}" if options.charge else f"give '{app}' {amount} back"
        _confirm(options, f"Release the reservation {options.id}, and {what}?")
        query = urlencode({"charge": str(options.charge).lower(), "force": str(options.force).lower()})
        try:
            released = self._api.call("DELETE", f"{_app(app)}/reservations/{quote(options.id, safe='')}?{query}")
        except Refused as refused:
            raise Refused(str(refused).replace("send force=true", "add --force"), code=refused.code) from None
        done = f"{amount} are charged to '{app}'." if options.charge else f"'{app}' has {amount} back."
        _print_done(options, released, done)

    def _replay(self, options: argparse.Namespace) -> None:
        """
        Raises:
            Refused: some of the log was not understood. The rest is made.
        """
        if sys.stdin is None:
            raise Refused("Standard input is closed: give it the log, as in `settlement replay < log`.")
        left = postponed.read(sys.stdin.read())
        made = [self._settle(one) for one in left.settlements]
        told = {
            "made": made.count(True),
            "were_made_before": made.count(False),
            "cannot_be": left.unmarked + made.count(None),
            "not_understood": left.not_understood,
        }
        if options.json:
            _print_json(told)
        else:
            print(tables.named({name.replace("_", " "): count for name, count in told.items()}))
        if left.not_understood:
            raise Refused(
                f"{left.not_understood} mentions of settlement_postponed were not understood: give the log's lines as "
                "the process wrote them, or as docs/operating.md exports them."
            )

    def _settle(self, left: Mapping[str, Any]) -> bool | None:
        """Whether it was made now, or before; None where it cannot be, since its app is deleted."""
        wanted = {name: left[name] for name in ("shard", "amounts", "unmark")}
        try:
            return bool(self._api.call("POST", f"{_app(left['app'])}/settlements", wanted)["made"])
        except Refused as refused:
            if refused.code != "not_found":
                raise
            return None


def _app(name: str) -> str:
    return f"/apps/{quote(name, safe='')}"


def _settings(options: argparse.Namespace) -> dict[str, object]:
    """What the command sets, as the API takes it."""
    given = {
        name: without_none(value) if isinstance(value, list) else value
        for name, value in vars(options).items()
        if name in (*_LIMITS, "origins")
    }
    settings: dict[str, object] = {"origins": given.pop("origins")} if "origins" in given else {}
    return settings | ({"limits": given} if given else {})


def _lifetime(options: argparse.Namespace) -> dict[str, int]:
    return {} if options.days is None else {"lifetime_seconds": options.days * _SECONDS_PER_DAY}


def _flat(app: Mapping[str, Any]) -> dict[str, Any]:
    state = "deleting" if app["deleting"] else "enabled" if app["enabled"] else "disabled"
    return {**app, **app["limits"], "state": state, "created": tables.day(app["created_at"])}


def _shown_key(key: Mapping[str, Any]) -> dict[str, Any]:
    state = "expired" if key["expired"] else "enabled" if key["enabled"] else "disabled"
    return {
        **key,
        "shown": f"tfl_...{key['hint']}",
        "created": tables.day(key["created_at"]),
        "state": state,
        "ends": tables.minute(key["expires_at"]),
    }


def _print_app(options: argparse.Namespace, app: dict[str, Any]) -> None:
    if options.json:
        _print_json(app)
        return
    flat = _flat(app)
    names = ("state", "created", "version", *_LIMITS, "origins")
    print(tables.named({"app": app["id"], **{name.replace("_", " "): flat[name] for name in names}}))


def _shown_reservation(one: Mapping[str, Any]) -> dict[str, Any]:
    return {**one, "made": tables.minute(one["created_at"])}


def _print_list(
    options: argparse.Namespace,
    columns: Mapping[str, str],
    items: list[dict[str, Any]],
    show: Callable[[Mapping[str, Any]], dict[str, Any]],
) -> None:
    """
    Args:
        show: adds to an item what a person is to see of it.
    """
    if options.json:
        _print_json(items)
    elif items:
        print(tables.table(columns, [show(item) for item in items]))
    else:
        print("There are none.", file=sys.stderr)


def _print_key(options: argparse.Namespace, key: Mapping[str, Any]) -> None:
    if options.json:
        _print_json(key)
    else:
        print(key["key"], flush=True)  # before what is said of it
    print(f"This is the only time that this key of '{key['app']}' is shown.", file=sys.stderr)


def _print_done(options: argparse.Namespace, answer: Mapping[str, Any], told: str) -> None:
    if options.json:
        _print_json(answer)
        return
    seconds = answer.get("effective_within_seconds")
    print(told if seconds is None else f"{told} A running service notices within {seconds} seconds.", file=sys.stderr)


def _print_json(value: object) -> None:
    # An output of fewer characters would replace some by what is no JSON.
    has_all = (sys.stdout.encoding or "").lower() in ("utf-8", "utf8")
    print(json.dumps(value, indent=2, ensure_ascii=not has_all))


def _confirm(options: argparse.Namespace, question: str) -> None:
    """
    Raises:
        Refused: the answer is not yes, or nobody is there to ask.
    """
    if options.yes:
        return
    if sys.stdin is None or not sys.stdin.isatty():
        raise Refused("This cannot be undone, and nobody is there to ask: add --yes.")
    print(f"{question} [y/N] ", end="", file=sys.stderr, flush=True)
    if sys.stdin.readline().strip().lower() not in ("y", "yes"):
        raise Refused("Nothing was done.")
