"""OpenAI's own test suite through each cloud, against what passes without this service: `make conformance`.

The suite runs against the mock upstream directly, then through each cloud, with a recording proxy before the upstream
each time. What passes directly must pass through a cloud, and upstream must receive the same bytes, except for:

- tests of endpoints that are not offered;
- requests that are refused on purpose, such as those for what belongs to the operator's account;
- streams whose client did not ask for their usage: upstream is asked for it all the same;
- lists of stored objects, which are made of the app's own records and one retrieval for each.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import json
import sys
import tempfile
import threading
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from pathlib import Path

import steady
from core import errors
from core.body_edit import with_stream_usage
from core.made import Made
from core.objects import Objects
from core.ports import App
from core.sqlite_store import SqliteStore
from local.services import CLOUDS
from local_deployment import LocalDeployment
from missing import Missing
from offer import Offer
from openai_suite import OpenAISuite, Outcome
from recording_proxy import RecordedRequest, RecordingProxy

_LOCAL_APP = App(id="local", created_at=0)
"""The app whose key `python -m local` hands out."""
_UPSTREAM = "openai"
"""What the settings call the one that `--upstream` gives the address of."""


@dataclass(frozen=True, slots=True)
class Run:
    """One run of the suite: what became of each test, and what upstream received in it."""

    outcomes: Mapping[str, Outcome]
    requests: Mapping[str, Sequence[RecordedRequest]]


@dataclass(frozen=True, slots=True)
class Conformance:
    """The run without this service, and those through each cloud."""

    ceiling: Run
    clouds: Mapping[str, Run]
    offers: Mapping[str, Sequence[Offer]]
    """What the requests of each test that can pass are to the service."""
    exempt: Mapping[str, str]
    """The tests of what is not offered or refused on purpose, and why."""

    @classmethod
    def measure(cls, folder: Path, *, clouds: Sequence[str] = CLOUDS, only: str = "") -> Conformance:
        """
        Args:
            only: which tests to run, as an expression for pytest's `-k`; all if it is empty.

        Raises:
            Missing: the suite, the mock upstream or OpenAI's description is not there.
        """
        suite = OpenAISuite.installed()
        with steady.started(folder / "steady.log") as upstream_url:
            ceiling = _without_the_service(suite, upstream_url, folder, only)
            offers, exempt = _sort(ceiling)
            objects = {made for some in offers.values() for offer in some for made in offer.objects}
            with contextlib.ExitStack() as stack:
                through = {
                    cloud: stack.enter_context(_Deployed.started(cloud, upstream_url, folder, sorted(objects)))
                    for cloud in clouds
                }
                with ThreadPoolExecutor(len(through)) as pool:
                    runs = dict(zip(through, pool.map(lambda one: one.run(suite, only), through.values()), strict=True))
        return cls(ceiling, runs, offers, exempt)

    @property
    def on_the_wire(self) -> set[str]:
        """The tests that upstream sees anything of; the others would pass with no upstream at all."""
        return {test for test, offers in self.offers.items() if offers}

    def lost(self, cloud: str) -> dict[str, str]:
        """The tests that pass without the service and not through `cloud`, with their errors."""
        outcomes = self.clouds[cloud].outcomes
        return {test: outcomes[test].message for test in self.offers if not outcomes[test].passed}

    def changed(self, cloud: str) -> dict[str, str]:
        """The tests of which upstream received something else through `cloud`, with both."""
        through, lost = self.clouds[cloud].requests, self.lost(cloud)
        differences = {}
        for test, offers in self.offers.items():
            sent, received = self.ceiling.requests.get(test, ()), through.get(test, ())
            if test not in lost and not _is_the_same(sent, received, offers):
                differences[test] = f"{'; '.join(map(str, sent))}  became  {'; '.join(map(str, received)) or 'nothing'}"
        return differences


@dataclass(slots=True)
class _Deployed:
    """One cloud on this machine, with a recording proxy between it and the mock upstream."""

    deployment: LocalDeployment
    proxy: RecordingProxy
    objects: Sequence[Made]
    """What the suite's tests take for existing: the app has to own it."""
    base_url: str
    report: Path
    _lock: threading.Lock = field(default_factory=threading.Lock)

    @classmethod
    @contextlib.contextmanager
    def started(cls, cloud: str, upstream_url: str, folder: Path, objects: Sequence[Made]) -> Iterator[_Deployed]:
        own = folder / cloud
        own.mkdir()
        with (
            RecordingProxy.before(upstream_url) as proxy,
            LocalDeployment.started(own, "--cloud", cloud, "--upstream", proxy.url) as deployment,
        ):
            deployed = cls(deployment, proxy, objects, deployment.base_urls[cloud], own / "report.xml")
            deployed.own_objects()
            proxy.on_test = deployed.before_test
            yield deployed

    def run(self, suite: OpenAISuite, only: str) -> Run:
        outcomes = suite.run(
            self.base_url,
            self.report,
            key=self.deployment.app_key,
            recorder=self.proxy.address,
            only=only,
        )
        return Run(outcomes, self.proxy.requests)

    def before_test(self, _: str) -> None:
        """What a test has deleted, the next one takes for existing again."""
        if any(request.method == "DELETE" for request in self.proxy.last_requests):
            self.own_objects()

    def own_objects(self) -> None:
        store = SqliteStore(self.deployment.state / "store.sqlite3")
        try:
            asyncio.run(Objects(store).learn(_LOCAL_APP, self.objects, upstream=_UPSTREAM))
        finally:
            store.close()


def table(conformance: Conformance) -> str:
    """Tests by folder: how many pass without the service, how many of those reach upstream, and through each cloud."""
    clouds = list(conformance.clouds)
    lost = {cloud: conformance.lost(cloud) for cloud in clouds}
    folders = {test: _folder(test) for test in conformance.ceiling.outcomes}
    rows = [["folder", "not offered or refused", "without it", "on the wire", *clouds]]
    for folder in sorted({*folders.values()}):
        tests = {test for test in conformance.offers if folders[test] == folder}
        exempt = sum(folders[test] == folder for test in conformance.exempt)
        passed = [str(len(tests - lost[cloud].keys())) for cloud in clouds]
        rows.append([folder, str(exempt), str(len(tests)), str(len(tests & conformance.on_the_wire)), *passed])
    rows.append(["all", *(str(sum(int(row[n]) for row in rows[1:])) for n in range(1, len(rows[0])))])
    widths = [max(len(row[n]) for row in rows) for n in range(len(rows[0]))]
    return "\n".join(
        "  ".join(
            cell.rjust(width) if n else cell.ljust(width)
            for n, (cell, width) in enumerate(zip(row, widths, strict=True))
        )
        for row in rows
    )


def differences(conformance: Conformance) -> list[str]:
    """One line for each test that is lost, or of which upstream received something else."""
    return [
        f"{cloud} {what} {test}: {detail}"
        for cloud in conformance.clouds
        for what, tests in (("fails", conformance.lost(cloud)), ("changes", conformance.changed(cloud)))
        for test, detail in tests.items()
    ]


def _without_the_service(suite: OpenAISuite, upstream_url: str, folder: Path, only: str) -> Run:
    with RecordingProxy.before(upstream_url) as proxy:
        outcomes = suite.run(proxy.url, folder / "report.xml", recorder=proxy.address, only=only)
        return Run(outcomes, proxy.requests)


def _sort(ceiling: Run) -> tuple[dict[str, list[Offer]], dict[str, str]]:
    """The tests that have to pass through the service, and those that cannot."""
    offers, exempt = dict[str, list[Offer]](), dict[str, str]()
    for test, outcome in ceiling.outcomes.items():
        if outcome.passed:
            try:
                offers[test] = [Offer.of(request) for request in ceiling.requests.get(test, ())]
            except (errors.UnknownEndpoint, errors.MethodNotAllowed) as error:
                exempt[test] = f"not offered: {error.message.partition('. ')[0]}"
            except errors.InvalidRequest as error:
                exempt[test] = f"refused: {error.message}"
    return offers, exempt


def _is_the_same(sent: Sequence[RecordedRequest], received: Sequence[RecordedRequest], offers: Sequence[Offer]) -> bool:
    if any(offer.endpoint.lists is not None for offer in offers):
        retrievals = tuple(f"{request.target.partition('?')[0]}/" for request in sent)
        return all(request.method == "GET" and request.target.startswith(retrievals) for request in received)
    return Counter(map(_metered, sent)) == Counter(received)


def _metered(sent: RecordedRequest) -> RecordedRequest:
    """What becomes of a request whose usage upstream reports only if it is asked to."""
    if not sent.target.endswith("/completions") or not sent.body.startswith(b"{"):
        return sent
    said = json.loads(sent.body)
    if not said.get("stream") or (said.get("stream_options") or {}).get("include_usage"):
        return sent
    return replace(sent, body=with_stream_usage(sent.body))


def _folder(test: str) -> str:
    return test.partition("::")[0].split("/")[2].removeprefix("test_").removesuffix(".py")


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--install", action="store_true", help="fetch the suite and the mock upstream, and stop")
    parser.add_argument("--cloud", action="append", choices=CLOUDS, help="this one only; may be repeated")
    options = parser.parse_args(arguments)
    try:
        if options.install:
            OpenAISuite.install()
            steady.install()
            return 0
        with tempfile.TemporaryDirectory(prefix="trefoil-conformance-") as folder:
            conformance = Conformance.measure(Path(folder), clouds=options.cloud or CLOUDS)
    except Missing as missing:
        print(f"conformance: {missing}", file=sys.stderr)
        return 1
    print(table(conformance))
    for reason, tests in Counter(conformance.exempt.values()).most_common():
        print(f"{tests:5}  {reason}")
    found = differences(conformance)
    print(*found, sep="\n")
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())
