"""One process that runs the function, and the Runtime API that it asks for work."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

from local.processes import die_with_parent
from local.runtime_api import FUNCTION_NAME, REGION, Answer, RuntimeApi, SandboxError, SandboxLost


class TimedOut(SandboxError):
    """The function's time is over."""


@dataclass(frozen=True, slots=True)
class Function:
    """What would be deployed, and how."""

    task_root: Path
    """The unpacked zip."""
    timeout_seconds: float = 900
    memory_mb: int = 512
    streaming: bool = True
    """Whether AWS_LAMBDA_EXEC_WRAPPER names the zip's `run`."""
    concurrency: int = 50
    """How many requests are answered at once: more are refused."""

    def command(self) -> list[str]:
        wrapper = [str(self.task_root / "run")] if self.streaming else []
        return [*wrapper, sys.executable, "-m", "awslambdaric", "lambda_function.lambda_handler"]

    def environ(self, runtime_api: str) -> Mapping[str, str]:
        return {
            **os.environ,
            "AWS_EXECUTION_ENV": f"AWS_Lambda_python{sys.version_info.major}.{sys.version_info.minor}",
            "AWS_LAMBDA_FUNCTION_MEMORY_SIZE": str(self.memory_mb),
            "AWS_LAMBDA_FUNCTION_NAME": FUNCTION_NAME,
            "AWS_LAMBDA_FUNCTION_VERSION": "$LATEST",
            "AWS_LAMBDA_INITIALIZATION_TYPE": "on-demand",
            "AWS_LAMBDA_RUNTIME_API": runtime_api,
            "AWS_REGION": REGION,
            "LAMBDA_TASK_ROOT": str(self.task_root),
            "PYTHONPATH": str(self.task_root),
            "_HANDLER": "lambda_function.lambda_handler",
        }


class Sandbox:
    """One process and its Runtime API."""

    def __init__(self, function: Function, api: RuntimeApi, process: asyncio.subprocess.Process) -> None:
        self._function = function
        self._api = api
        self._process = process
        self._watch = asyncio.create_task(self._wait_for_exit())

    @classmethod
    async def start(cls, function: Function) -> Sandbox:
        """
        Raises:
            SandboxLost: the machine has no room for another process.
        """
        api = RuntimeApi()
        environ = function.environ(await api.open())
        try:
            process = await asyncio.create_subprocess_exec(
                *function.command(),
                cwd=function.task_root,
                env=environ,
                stdin=asyncio.subprocess.DEVNULL,
                start_new_session=True,  # the terminal's Ctrl-C is for the emulator, which then stops this one
                preexec_fn=die_with_parent,
            )
        except OSError as error:
            lost = SandboxLost(f"the sandbox could not be started: {error.strerror}")
            api.lose(lost)
            raise lost from error
        return cls(function, api, process)

    async def idle(self) -> None:
        """Wait until it asks for work. Raises `SandboxError` if it never will, or not within the function's time."""
        async with self._time_limit():
            await self._api.asked()

    @asynccontextmanager
    async def invoke(self, event: bytes, *, request_id: str) -> AsyncIterator[Answer]:
        """Have an idle sandbox answer. Raises `SandboxError`, wherever in the answer the deadline may come."""
        timeout = self._function.timeout_seconds
        async with (
            self._time_limit(),
            self._api.invoke(event, request_id=request_id, timeout_seconds=timeout) as answer,
        ):
            yield answer

    async def stop(self) -> None:
        if self._process.returncode is None:
            self._process.kill()
        await self._watch

    @asynccontextmanager
    async def _time_limit(self) -> AsyncIterator[None]:
        try:
            async with asyncio.timeout(self._function.timeout_seconds):
                yield
        except TimeoutError:
            raise TimedOut(f"Task timed out after {self._function.timeout_seconds:.2f} seconds") from None

    async def _wait_for_exit(self) -> None:
        status = await self._process.wait()
        ending = f"signal {signal.Signals(-status).name}" if status < 0 else f"exit status {status}"
        self._api.lose(SandboxLost(f"the sandbox ended with {ending}"))
