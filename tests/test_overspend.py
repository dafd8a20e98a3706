"""The proof that nothing is overspent: processes and threads of the service, all at once, against each store.

What the processes tell of their reservations and settlements is compared with what upstream has reported, and with what
the ledger says in the end. Their times are on one clock, so that for each refusal it can be said whether there was a
moment in which the budget could not bear the request.
"""

from __future__ import annotations

import asyncio
import json
import os
import random
import secrets
import subprocess
import sys
import threading
from collections import Counter
from collections.abc import AsyncIterator, Callable, Iterator, Mapping, Sequence
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

import metered_upstream
from core import errors
from core.admin import Admin
from core.books import Books
from core.http import Request
from core.ledger import Ledger
from core.manage import Manage
from core.ports import App, Limits, Store
from core.secret import Secret
from local.staging import REPOSITORY
from metered_upstream import MeteredUpstream, cost_nano_usd
from missing import Missing
from store_deployments import STORES, StoreDeployment

pytestmark = pytest.mark.anyio

_WORKERS = 3
_THREADS = 2
"""Of each worker."""
_AT_ONCE = {"sqlite": 12, "dynamodb": 5, "cosmos": 5, "firestore": 5}
"""Calls of each thread. The emulators do one thing at a time: what waits for seconds is given up."""
_WATCH_SECONDS = 0.2
"""Between two looks at what is spent and reserved, while the others are at work."""
_MINUTE = 1_795_600_000
_PATIENCE_SECONDS = 90.0
_ADMIN_KEY = "an-admin-key-of-more-than-32-characters"
_TOML = f"""
[upstreams.openai]
[retry]
max_retries = 2
first_wait_seconds = 0.01
[limits]
output_tokens_per_second = 1_000_000_000  # what is broken off is paid as if all of it had been made
{metered_upstream.PRICES}
"""
_WHOLE = (metered_upstream.ANSWERS,) * 7
_FAILING = (
    metered_upstream.STUMBLES,
    metered_upstream.HANGS_UP,
    metered_upstream.FAILS,
    metered_upstream.DENIES,
)

_CUT = ("upstream_cut_off", "upstream_unreachable")
_OVERLOADED = ("store_unavailable",)
"""What a client is told where an emulator is too slow. That must cost nothing, either."""

_Event = Mapping[str, Any]
_Call = Mapping[str, Any]


class _Worker:
    """A process of the service, and what it has told."""

    def __init__(self, deployment: StoreDeployment, environ: Mapping[str, str], log: Path) -> None:
        command = [sys.executable, "tests/overspend_worker.py", deployment.module, deployment.setting]
        with log.open("ab") as errors_file:
            self._process = subprocess.Popen(
                command,
                cwd=REPOSITORY,
                env=dict(environ),
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=errors_file,
                text=True,
            )
        self.events: list[_Event] = []
        self._reader = threading.Thread(target=self._read)
        self._reader.start()

    def _read(self) -> None:
        assert self._process.stdout
        for line in self._process.stdout:
            self.events.append(json.loads(line))

    @property
    def is_alive(self) -> bool:
        return self._process.poll() is None

    def send(self, **command: object) -> None:
        self.events.clear()
        assert self._process.stdin
        self._process.stdin.write(json.dumps(command) + "\n")
        self._process.stdin.flush()

    async def done(self) -> None:
        """Wait until it has carried out its command, or is dead."""
        await _until(lambda: not self.is_alive or any(event["event"] == "done" for event in self.events))
        if not self.is_alive:
            self._reader.join()

    def kill(self) -> None:
        """SIGKILL."""
        self._process.kill()
        self._process.wait()
        self._reader.join()
        for pipe in (self._process.stdin, self._process.stdout):
            assert pipe
            with suppress(BrokenPipeError):
                pipe.close()


@dataclass(slots=True)
class _Service:
    """The workers of one store."""

    deployment: StoreDeployment
    folder: Path
    _workers: list[_Worker] = field(default_factory=list)

    def workers(self) -> Sequence[_Worker]:
        """As many as there have to be: in the place of dead ones there are others."""
        self._workers = [worker for worker in self._workers if worker.is_alive]
        while len(self._workers) < _WORKERS:
            self._workers.append(_Worker(self.deployment, self._environ(), self.folder / "workers.log"))
        return self._workers

    def close(self) -> None:
        for worker in self._workers:
            worker.kill()

    def _environ(self) -> Mapping[str, str]:
        config = self.folder / "trefoil.toml"
        config.write_text(_TOML)
        path = os.pathsep.join(str(REPOSITORY / part) for part in ("", "aws", "azure", "gcp", "tests"))
        own = {"PYTHONPATH": path, "TREFOIL_CONFIG": str(config), "OPENAI_API_KEY": "sk-none"}
        return {**os.environ, **self.deployment.environ, **own}


_USUAL = ("sqlite", "dynamodb")


@pytest.fixture(
    scope="module",
    params=[pytest.param(name, marks=() if name in _USUAL else pytest.mark.slow) for name in STORES],
)
def service(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[_Service]:
    folder = tmp_path_factory.mktemp(request.param)
    try:
        with STORES[request.param](folder) as deployment:
            service = _Service(deployment, folder)
            service.workers()
            try:
                yield service
            finally:
                service.close()
    except Missing as missing:
        pytest.skip(str(missing))


@dataclass(slots=True)
class _Reservation:
    """What became of one, as its process told it. Times are in nanoseconds."""

    id: str
    call: str
    bound: int
    announced_at: int
    is_made: bool = False
    refused_at: int | None = None
    final: int | None = None
    """What was put in its place; None where nothing was, as far as its process had come."""
    settled_at: int | None = None

    def most_at(self, moment: int) -> int:
        """The most that can be counted for it then."""
        if moment < self.announced_at or (self.refused_at is not None and not self.is_made):
            return 0
        return self.final or 0 if self.settled_at is not None and self.settled_at <= moment else self.bound


@dataclass(frozen=True, slots=True)
class _Story:
    """What the workers told of a run."""

    reservations: Mapping[str, _Reservation]
    began_at: Mapping[str, int]
    ended: Mapping[str, _Event]

    @classmethod
    def of(cls, events: Sequence[_Event]) -> _Story:
        reservations: dict[str, _Reservation] = {}
        began_at: dict[str, int] = {}
        ended: dict[str, _Event] = {}
        for event in sorted(events, key=lambda event: event["at"]):
            match event["event"]:
                case "began":
                    began_at[event["call"]] = event["at"]
                case "ended":
                    ended[event["call"]] = event
                case "reserving":  # again for each shard that is tried
                    one = _Reservation(event["reservation"], event["call"], event["nano_usd"], event["at"])
                    reservations.setdefault(one.id, one)
                case "reserved":
                    reservations[event["reservation"]].is_made = True
                case "refused":
                    reservations[event["reservation"]].refused_at = event["at"]
                case "settling":
                    reservations[event["reservation"]].final = event["nano_usd"]
                case "settled" if reservations[event["reservation"]].settled_at is None:
                    reservations[event["reservation"]].settled_at = event["at"]
        return cls(reservations, began_at, ended)

    def codes(self) -> Counter[str | None]:
        return Counter(event["code"] for event in self.ended.values())

    def finals(self) -> Mapping[str, int]:
        """What was settled in the end, by call."""
        return {one.call: one.final for one in self.reservations.values() if one.final is not None}

    def needless_refusals(self, budget: int) -> Sequence[str]:
        """The calls that were refused although the budget could have borne them all the time.

        A refusal is right if, in one moment at least of the time in which its call was at work, the budget could not
        bear it. How much was spent and reserved in a moment is not known exactly, but how much at most: the bound of
        whatever was about to be reserved until then, and of that, what was settled by then at its final cost. If with
        that, the request would have fit at any moment, the refusal was wrong for certain.
        """
        return [
            one.call
            for one in self.reservations.values()
            if one.refused_at is not None and not one.is_made and self._most_while(one) + one.bound <= budget
        ]

    def _most_while(self, refused: _Reservation) -> int:
        # A client may have left before it was refused.
        began, end = self.began_at[refused.call], max(self.ended[refused.call]["at"], refused.refused_at or 0)
        times = {began}
        for one in self.reservations.values():
            times |= {at for at in (one.announced_at, one.settled_at) if at is not None and began <= at <= end}
        return max(sum(one.most_at(moment) for one in self.reservations.values()) for moment in times)


@dataclass(frozen=True, slots=True)
class _Run:
    """One app with one budget, and what is to be known of it."""

    service: _Service
    store: Store
    upstream: MeteredUpstream
    app: App
    key: str

    @property
    def budget(self) -> int:
        assert self.app.limits.total_nano_usd is not None
        return self.app.limits.total_nano_usd

    @property
    def books(self) -> Books:
        return Books(self.store)

    def start(self, calls: Sequence[Sequence[_Call]], workers: Sequence[_Worker]) -> None:
        environ = {"TREFOIL_UPSTREAM_URL": self.upstream.url}
        for worker, some in zip(workers, calls, strict=True):
            worker.send(
                do="run", key=self.key, environ=environ, calls=some, at_once=_AT_ONCE[self.service.deployment.name]
            )

    async def all_settled(self, workers: Sequence[_Worker]) -> Sequence[_Event]:
        """Wait until nothing of these workers' stands any more, for some settlements are made after the client has
        left. What they have told until then.
        """
        standing: set[str] = set()
        try:
            async with asyncio.timeout(_PATIENCE_SECONDS):
                while standing := await self._standing_of(workers):  # noqa: ASYNC110 - only the store can tell
                    await asyncio.sleep(0.1)
        except TimeoutError:
            told = [event for worker in workers for event in worker.events]
            calls = {event["call"] for event in told if event.get("reservation") in standing and "call" in event}
            about = [e for e in told if e.get("reservation") in standing or e.get("call") in calls]
            pytest.fail(f"still reserved: {json.dumps(about, indent=1)}")
        return [event for worker in workers for event in worker.events]

    async def _standing_of(self, workers: Sequence[_Worker]) -> set[str]:
        theirs = {event.get("reservation") for worker in workers for event in worker.events}
        return {one.id for one in await self.books.standing(self.app.id)} & theirs

    async def used_nano_usd(self) -> int:
        return sum(row.nano_usd for row in await self.books.usage(self.app.id, "2000-01-01", "2999-01-01"))

    async def check_spent(self, nano_usd: int) -> None:
        spending = await self.books.spending(self.app)
        assert (spending.total_nano_usd, spending.reserved_nano_usd) == (nano_usd, 0)
        assert await self.used_nano_usd() == nano_usd

    async def check_rest_can_be_spent(self) -> None:
        """To the last nano-dollar, and not one more."""
        left = self.budget - (await self.books.spending(self.app)).total_nano_usd
        ledger = Ledger(self.store)
        await ledger.reserve(self.app, "chat.completions.create", "m", tokens=0, nano_usd=left)
        with pytest.raises(errors.QuotaExceeded):
            await ledger.reserve(self.app, "chat.completions.create", "m", tokens=0, nano_usd=1)


@asynccontextmanager
async def _run(service: _Service, *, budget: int, shards: int) -> AsyncIterator[_Run]:
    """Watches, as long as the block runs, that no more is ever spent and reserved than there is."""
    limits = Limits(total_nano_usd=budget, shards=shards)
    app = App(id=f"app-{secrets.token_hex(4)}", created_at=0, limits=limits)
    async with service.deployment.opened() as store, MeteredUpstream.running() as upstream:
        key = await Admin(store).new_key(app.id)
        await store.put(App.key(app.id), app.model_dump())
        run = _Run(service, store, upstream, app, key)
        watching = asyncio.create_task(_watch(run))
        try:
            yield run
        finally:
            watching.cancel()
            await asyncio.gather(watching, return_exceptions=True)
        if not watching.cancelled():
            watching.result()


async def _watch(run: _Run) -> None:
    while True:
        spending = await run.books.spending(run.app)
        assert spending.total_nano_usd + spending.reserved_nano_usd <= run.budget
        await asyncio.sleep(_WATCH_SECONDS)


async def _all_done(workers: Sequence[_Worker]) -> None:
    for worker in workers:
        await worker.done()


async def _until(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(_PATIENCE_SECONDS):
        while not condition():  # noqa: ASYNC110 - what it waits for is other processes'
            await asyncio.sleep(0.02)


def _calls(chance: random.Random, count: int, doings: Sequence[str], *, leaving: float = 0) -> list[_Call]:
    """Random ones, plain and streamed.

    Args:
        leaving: the share of clients that leave before the end.
    """
    return [_call(chance, chance.choice(doings), leaves=chance.random() < leaving) for _ in range(count)]


def _call(chance: random.Random, does: str, *, leaves: bool = False, stream: bool | None = None) -> _Call:
    most, taken_in = chance.randrange(100, 2000), chance.randrange(1, 400)
    stream = chance.random() < 0.5 if stream is None else stream
    reads_some = leaves and stream and chance.random() < 0.7
    return {
        "id": f"{chance.getrandbits(64):016x}",
        "model": "m",
        "does": does,
        "stream": stream,
        "most": most,
        "input": taken_in,
        "cached": chance.randrange(taken_in),
        "output": chance.randrange(most + 1),
        "takes_seconds": chance.random() * 0.03,
        "leaves_after_events": chance.randrange(1, 4) if reads_some else None,
        "leaves_after_seconds": chance.random() * 0.2 if leaves and not reads_some else None,
    }


def _shared_out(calls: Sequence[_Call], workers: int = _WORKERS) -> list[Sequence[_Call]]:
    return [calls[number::workers] for number in range(workers)]


def _most_nano_usd(calls: Sequence[_Call]) -> int:
    return sum(cost_nano_usd({**call, "output": call["most"]}) for call in calls)


_COUNTS = [
    pytest.param(120, id="120"),
    pytest.param(300, id="300", marks=pytest.mark.slow),
]


@pytest.mark.parametrize("count", _COUNTS)
@pytest.mark.parametrize("shards", [1, pytest.param(3, marks=pytest.mark.slow)])
async def test_what_is_spent_is_what_upstream_reported(service: _Service, shards: int, count: int) -> None:
    if shards > 1 and service.deployment.name != "sqlite":
        count //= 2  # a refusal looks at each shard several times, and the emulators do one thing at a time
    calls = _calls(random.Random(count + shards), count, _WHOLE + _FAILING)
    async with _run(service, budget=sum(map(cost_nano_usd, calls)) // 2, shards=shards) as run:
        workers = service.workers()
        run.start(_shared_out(calls), workers)
        await _all_done(workers)
        story = _Story.of(await run.all_settled(workers))
        assert len(story.ended) == count
        codes = story.codes()
        assert codes["insufficient_quota"] > count // 20
        assert set(codes) <= {None, "insufficient_quota", "upstream_unreachable", *_OVERLOADED}
        reported = run.upstream.reported
        assert {call: cost for call, cost in story.finals().items() if cost} == {k: v for k, v in reported.items() if v}
        assert sum(reported.values()) <= run.budget
        await run.check_spent(sum(reported.values()))
        assert story.needless_refusals(run.budget) == []
        await run.check_rest_can_be_spent()


@pytest.mark.parametrize("count", _COUNTS)
async def test_who_leaves_and_what_breaks_is_paid_for_once(service: _Service, count: int) -> None:
    chance = random.Random(count)
    calls = _calls(chance, count, (*_WHOLE, *_FAILING, *[metered_upstream.BREAKS] * 3), leaving=0.4)
    async with _run(service, budget=_most_nano_usd(calls) // 5, shards=1) as run:
        workers = service.workers()
        run.start(_shared_out(calls), workers)
        await _all_done(workers)
        story = _Story.of(await run.all_settled(workers))
        assert len(story.ended) == count
        codes = story.codes()
        assert codes["left"] > count // 20
        assert codes["insufficient_quota"] > 0
        assert set(codes) <= {None, "left", "insufficient_quota", *_CUT, *_OVERLOADED}
        finals, bounds = story.finals(), {one.call: one.bound for one in story.reservations.values()}
        assert finals.keys() >= {one.call for one in story.reservations.values() if one.is_made}
        assert all(run.upstream.reported.get(call, 0) <= final <= bounds[call] for call, final in finals.items())
        assert run.upstream.reported.keys() <= finals.keys()
        await run.check_spent(sum(finals.values()))
        assert sum(finals.values()) <= run.budget
        assert story.needless_refusals(run.budget) == []


@pytest.mark.parametrize("count", _COUNTS)
async def test_what_killed_processes_had_reserved_stands_until_it_is_released(service: _Service, count: int) -> None:
    """Two of three workers are killed while upstream works for them, on plain answers and in the midst of streams."""
    chance = random.Random(count)
    held = [_call(chance, metered_upstream.HOLDS, stream=stream) for stream in (False, True, False, True)]
    calls = _calls(chance, count, _WHOLE + _FAILING)
    async with _run(service, budget=_most_nano_usd(held) + _most_nano_usd(calls) // 2, shards=1) as run:
        workers = service.workers()
        first, second, third = _shared_out(calls)
        run.start([[*held[:2], *first], [*held[2:], *second], third], workers)
        await _until(lambda: run.upstream.held >= {call["id"] for call in held})
        for worker in workers[:2]:
            worker.kill()
        await _all_done(workers)
        await run.all_settled(workers[2:])
        story = _Story.of([event for worker in workers for event in worker.events])
        standing = {one.id: one.nano_usd for one in await run.books.standing(run.app.id)}
        made = {one.id: one for one in story.reservations.values() if one.is_made}
        unsettled = {one.id for one in made.values() if one.final is None}
        unsure = {one.id for one in story.reservations.values() if one.settled_at is None} - unsettled
        assert {one.id for one in made.values() if one.call in {call["id"] for call in held}} <= unsettled
        assert unsettled <= standing.keys() <= unsettled | unsure
        assert all(story.reservations[one].bound == nano_usd for one, nano_usd in standing.items())
        # Of what was being settled when its process was killed, the settlement is made, or it stands.
        settled = {one.call: one.final or 0 for one in story.reservations.values() if one.id not in standing}
        spending = await run.books.spending(run.app)
        assert (spending.total_nano_usd, spending.reserved_nano_usd) == (sum(settled.values()), sum(standing.values()))
        reported = run.upstream.reported
        calls_standing = {story.reservations[one].call for one in standing}
        assert {k: v for k, v in settled.items() if v} == {
            k: v for k, v in reported.items() if v and k not in calls_standing
        }
        assert story.needless_refusals(run.budget) == []
        charged = await _release(run, standing)
        await run.check_spent(sum(settled.values()) + charged)
        assert sum(settled.values()) + charged <= run.budget


async def _release(run: _Run, standing: Mapping[str, int]) -> int:
    """Every other one is charged; how much that comes to."""
    manage = Manage(run.store, run.books, admin_key=Secret(_ADMIN_KEY), cache_seconds=0)
    headers, path = {"authorization": f"Bearer {_ADMIN_KEY}"}, f"/manage/apps/{run.app.id}/reservations"
    listed = await manage.handle(Request("GET", path, headers=headers))
    assert isinstance(listed.body, bytes)
    assert {one["id"] for one in json.loads(listed.body)["data"]} == standing.keys()
    charged = 0
    for number, (one, nano_usd) in enumerate(standing.items()):
        charge = number % 2 == 0
        charged += nano_usd if charge else 0
        request = Request("DELETE", f"{path}/{one}", f"charge={json.dumps(charge)}", headers)
        with pytest.raises(errors.StateConflict):  # its request might still be at work
            await manage.handle(request)
        forced = Request("DELETE", f"{path}/{one}", f"charge={json.dumps(charge)}&force=true", headers)
        assert (await manage.handle(forced)).status == 200
        with pytest.raises(errors.NotFound):
            await manage.handle(forced)
    return charged


@pytest.mark.parametrize("shards", [1, 3])
@pytest.mark.parametrize("kind", ["requests", "tokens"])
async def test_a_minute_grants_exactly_what_it_has(service: _Service, kind: str, shards: int) -> None:
    """All at one moment of one minute: as many as there is room for, and none more."""
    tokens = 7
    limits = {"requests": Limits(requests_per_minute=31), "tokens": Limits(tokens_per_minute=31 * tokens + 6)}[kind]
    app = App(id=f"app-{secrets.token_hex(4)}", created_at=0, limits=limits.model_copy(update={"shards": shards}))
    workers = service.workers()
    for worker in workers:
        worker.send(do="count", app=app.model_dump(), tokens=tokens, now=_MINUTE, tries=8)
    await _all_done(workers)
    events = [event for worker in workers for event in worker.events if event["event"] == "counted"]
    counted = {name: sum(event.get(name, 0) for event in events) for name in ("granted", kind)}
    tries = _WORKERS * _THREADS * 8
    assert counted == {"granted": 31, kind: tries - 31}
    async with service.deployment.opened() as store:
        last = Ledger(store, clock=lambda: _MINUTE)
        if kind == "tokens":
            await last.reserve(app, "chat.completions.create", "m", tokens=6, nano_usd=0)
        with pytest.raises((errors.RequestsLimited, errors.TokensLimited)):
            await last.reserve(app, "chat.completions.create", "m", tokens=1, nano_usd=0)
