"""The simple endpoints: a small JSON object in, another one out, or server-sent events. What models do for them goes
through the same upstreams, limits and ledger as everything else.
"""

from __future__ import annotations

import uuid
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from fnmatch import fnmatchcase
from http import HTTPStatus
from typing import Any

from pydantic_core import to_json

from core import errors, logs, policy, task_input, task_jobs, usd
from core.bill import Bill
from core.body import Body
from core.conversations import Conversations
from core.converse import Conversing
from core.endpoints import Endpoint
from core.http import Request, Response
from core.idempotency import Idempotency
from core.meter import Meter
from core.ports import App, Store
from core.route import Target
from core.schemas import Call
from core.settings import Settings
from core.summarize import Summarizing
from core.task_calls import Calls, Declined, Emit, Job, Result
from core.task_conversations import ConversationCalls
from core.task_prompts import Model
from core.task_settings import OwnTaskSettings, TasksSettings
from core.task_stream import HEADERS, TaskStream
from core.upstream import Answer, Upstream

_JSON = {"content-type": "application/json"}
_UNKNOWN_CONTEXT_TOKENS = 32_000
"""What a model is taken to read at once where nobody has said what it can: `[prices]` of `trefoil.toml` can."""
_LEAST_SHARE = 4
"""Of its context, a model's answer gets this part at most, where the request does not say."""


@dataclass(frozen=True, slots=True)
class _Asked:
    """A request for a task, as far as it can be read without the store."""

    task: str
    endpoint: Endpoint
    """Named by the task, which is what limits and usage go by."""
    body: task_input.Controls
    values: Mapping[str, Any]
    """For an operator's own task."""
    model: str

    @property
    def output_tokens(self) -> int | None:
        return self.body.max_output_tokens if isinstance(self.body, task_input.TextControls) else None


class Tasks:
    """Answers the rows of the table that are tasks."""

    def __init__(
        self, settings: Settings, store: Store, upstream: Upstream, meter: Meter, idempotency: Idempotency
    ) -> None:
        self._limit_bytes = settings.limits.body_bytes
        self._settings = settings.tasks if isinstance(settings.tasks, TasksSettings) else TasksSettings()
        self._conversations = Conversations(store, days=self._settings.conversation_days)
        self._conversation_calls = ConversationCalls(self._conversations)
        self._upstream = upstream
        self._meter = meter
        self._idempotency = idempotency

    async def answer(
        self, app: App, endpoint: Endpoint, names: Mapping[str, str], request: Request, line: logs.RequestLine
    ) -> Response:
        """
        Raises:
            TrefoilError: what any other call is refused for.
            StoreError: the store cannot be asked.
        """
        if endpoint.method != "POST":
            return await self._answer_freely(app, endpoint, names, request)
        asked = self._read(app, endpoint, names, request, line)

        async def work() -> Response:
            return await self._do(app, asked, request, line)

        return await self._idempotency.once(app, request, work)

    async def _answer_freely(
        self, app: App, endpoint: Endpoint, names: Mapping[str, str], request: Request
    ) -> Response:
        """The answer to what no model works for. It counts as a request all the same."""
        lists = endpoint.name == "tasks.list"
        if not lists:  # whatever an app may do, it may know
            policy.check(app, endpoint, None)
        tab = await self._meter.open(app, endpoint, Body(Call()), request, ())
        try:
            if lists:
                response = Response(HTTPStatus.OK, _JSON, self._list(app))
            else:
                response = await self._conversation_calls.answer(app, endpoint, names, request)
        except BaseException as error:
            await tab.fail(error)
            raise
        return await tab.settle(Answer(response, Target("")))

    def _list(self, app: App) -> bytes:
        from core import task_list  # noqa: PLC0415 - asked for once by those who write a client

        return to_json(task_list.describe(app, self._settings))

    def _read(
        self, app: App, endpoint: Endpoint, names: Mapping[str, str], request: Request, line: logs.RequestLine
    ) -> _Asked:
        task = names.get("task") or endpoint.name.removeprefix("tasks.")
        own = self._settings.own.get(task)
        if "task" in names and (own is None or not _matches(app.id, own.apps)):
            raise errors.UnknownEndpoint(f"There is no task '{task[:100]}': GET /tasks lists those that there are.")
        named = endpoint._replace(name=f"tasks.{task}")
        line.endpoint = named.name
        task_input.check_sent(request, limit_bytes=self._limit_bytes)
        values: Mapping[str, Any] = {}
        if own is None:
            body = task_input.read(task_input.BUILT_IN[task], request.body)
        else:
            body, values = task_input.read_own(own, request.body)
        model = self._model(task, body.model)
        line.model = model
        policy.check(app, named, model)
        return _Asked(task, named, body, values, model)

    def _model(self, task: str, wanted: str | None) -> str:
        """The model for a request that names one, or none."""
        if wanted is None:
            return self._settings.model_of(task)
        if wanted != self._settings.model_of(task) and not _matches(wanted, self._settings.of(task).models):
            raise errors.NotAllowed(
                f"The task '{task}' does not let a request name the model '{wanted}': leave `model` out.",
                param="model",
                code="model_not_allowed",
            )
        return wanted

    async def _do(self, app: App, asked: _Asked, request: Request, line: logs.RequestLine) -> Response:
        targets = self._upstream.targets(asked.model, None)
        job = await self._job(app, asked, targets)
        bill = await self._meter.open_bill(app, asked.endpoint, asked.model, job.planned(), targets)
        task = _Task(self._upstream, self._meter, bill, request, asked, targets, job)
        try:
            if not asked.body.stream:
                return await task.answer()
            stream = TaskStream(request, task.run, close=bill.close, on_end=line.write)
            await stream.start()
        except Declined as declined:
            return replace(declined.response, headers={**declined.response.headers, **bill.headers})
        return Response(HTTPStatus.OK, {**HEADERS, **task.headers}, stream)

    async def _job(self, app: App, asked: _Asked, targets: Sequence[Target]) -> Job:
        body, model = asked.body, self._measured(asked, targets)
        if isinstance(body, task_input.Generate):
            return task_jobs.generate(model, body)
        if isinstance(body, task_input.Complete):
            return task_jobs.complete(model, body)
        if isinstance(body, task_input.Summarize):
            return Summarizing.of(model, body)
        if isinstance(body, task_input.Converse):
            return await Conversing.of(model, app, body, self._conversations)
        if isinstance(body, task_input.Code):
            return task_jobs.code(model, body)
        if isinstance(body, task_input.Image):
            return task_jobs.Drawing(asked.model, body)
        settings = self._settings.of(asked.task)
        assert isinstance(settings, OwnTaskSettings)
        return task_jobs.own(model, settings, asked.values)

    def _measured(self, asked: _Asked, targets: Sequence[Target]) -> Model:
        """The model with what it can read and may write."""
        context, most_output = self._meter.most_tokens(targets)
        context = context or _UNKNOWN_CONTEXT_TOKENS
        output = asked.output_tokens
        if output is None:
            output = min(self._settings.output_tokens_of(asked.task), most_output or context, context // _LEAST_SHARE)
        return Model(asked.model, output, context)


@dataclass(slots=True)
class _Task:
    """One task at work."""

    upstream: Upstream
    meter: Meter
    bill: Bill
    request: Request
    asked: _Asked
    targets: Sequence[Target]
    job: Job
    calls: Calls | None = None

    @property
    def headers(self) -> Mapping[str, str]:
        return {**(self.calls.headers if self.calls else {}), **self.bill.headers}

    async def answer(self) -> Response:
        """The whole answer."""
        content = to_json(await self._finish(None))
        return Response(HTTPStatus.OK, {**_JSON, **self.headers}, content)

    async def run(self, emit: Emit) -> Mapping[str, Any]:
        """The last event of a stream, after its others."""
        return {"type": "done", **await self._finish(emit)}

    async def _finish(self, emit: Emit | None) -> Mapping[str, Any]:
        self.calls = Calls(self.upstream, self.meter, self.bill, self.request, self.asked.model, self.targets, emit)
        try:
            result = await self.job.run(self.calls)
        finally:
            await self.bill.close()
        return self._shown(result, self.calls.is_priced)

    def _shown(self, result: Result, is_priced: bool) -> Mapping[str, Any]:
        used = self.bill.used
        return {
            "id": f"task_{uuid.uuid4().hex}",
            "task": self.asked.task,
            "model": self.asked.model,
            "output": result.output,
            "finish_reason": result.finish_reason,
            **result.more,
            "usage": {
                "input_tokens": used.input_tokens,
                "output_tokens": used.output_tokens,
                "total_tokens": used.tokens,
                "cost_usd": usd.write(self.bill.nano_usd) if is_priced else None,
            },
        }


def _matches(name: str, patterns: Sequence[str]) -> bool:
    return any(fnmatchcase(name, pattern) for pattern in patterns)
