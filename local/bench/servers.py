"""What is measured: each variant as a command, as its cloud's runtime or its maker starts it."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import socket
import subprocess
import time
from collections.abc import AsyncIterator, Iterator, Mapping, Sequence
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from local.bench.workshop import HANDLERS, PYTHON, RUNTIMES, Workshop, compiled, handler
from local.failure import Failure
from local.processes import die_with_parent
from local.sandbox import Function
from local.staging import REPOSITORY

CHAT = "/v1/chat/completions"
_START_SECONDS = 60
_POLL_SECONDS = 0.002
_LAMBDA_SETS = ("AWS_", "LAMBDA_", "_")
_FOREIGN = ("OPENAI_", "TREFOIL_", "AWS_", "PYTHON", "VIRTUAL_ENV", "SSL_")


@dataclass(frozen=True, slots=True)
class Variant:
    """One server to measure. `{port}` in its command stands for the port that it is given."""

    name: str
    command: tuple[str, ...]
    directory: Path
    environ: Mapping[str, str]
    headers: Mapping[str, str] = field(default_factory=dict)
    """What a client has to send along."""
    path: str = CHAT
    log: Path | None = None
    """Where what it writes goes; by default to nowhere: what becomes of the lines is not the function's to pay."""


@dataclass(frozen=True, slots=True)
class Server:
    """One that runs."""

    variant: Variant
    port: int
    process: subprocess.Popen[bytes]

    @property
    def pid(self) -> int:
        return self.process.pid


@contextmanager
def started(variant: Variant) -> Iterator[Server]:
    """Start it and stop it, its children too; whether it answers by now is not said."""
    port = _free_port()
    command = [part.replace("{port}", str(port)) for part in variant.command]
    with open(variant.log or os.devnull, "wb") as output:
        process = subprocess.Popen(
            command,
            cwd=variant.directory,
            env=dict(variant.environ),
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=output,
            start_new_session=True,
            preexec_fn=die_with_parent,  # noqa: PLW1509 - there are no locks in it
        )
    try:
        yield Server(variant, port, process)
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()


@asynccontextmanager
async def answering(variant: Variant) -> AsyncIterator[Server]:
    """It, once it takes connections."""
    with started(variant) as server:
        writer = await connected(server)
        writer[1].close()
        yield server


async def connected(server: Server) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    """A connection to it, as soon as it takes one.

    Raises:
        Failure: it never does.
    """
    end = time.monotonic() + _START_SECONDS
    while server.process.poll() is None and time.monotonic() < end:
        try:
            return await asyncio.open_connection("127.0.0.1", server.port)
        except OSError:
            await asyncio.sleep(_POLL_SECONDS)
    raise Failure(f"'{server.variant.name}' does not start: {' '.join(server.variant.command)}")


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def base_environ(shop: Workshop, upstream_url: str) -> dict[str, str]:
    """The caller's environment less what could lead elsewhere, with what every variant is told of the upstream."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith(_FOREIGN)}
    return {
        **kept,
        "NO_PROXY": "127.0.0.1",
        "no_proxy": "127.0.0.1",
        "OPENAI_API_KEY": "sk-benchmark",
        "OPENAI_BASE_URL": f"{upstream_url}/v1",
        "SSL_CERT_DIR": str(shop.trusted),
    }


def gateway_environ(shop: Workshop, upstream_url: str, store: Mapping[str, str] | None = None) -> dict[str, str]:
    """What this service's function is told; by default of the embedded store."""
    environ = base_environ(shop, upstream_url)
    del environ["OPENAI_BASE_URL"]
    stores = store or {"TREFOIL_STORE": f"sqlite:{shop.store}"}
    return {**environ, "TREFOIL_UPSTREAM_URL": f"{upstream_url}/v1", **stores}


def bearer(key: str) -> dict[str, str]:
    return {"authorization": f"Bearer {key}"}


def gcp(
    name: str,
    shop: Workshop,
    root: Path,
    environ: Mapping[str, str],
    key: str = "none",
    *,
    more_path: Sequence[str] = (),
) -> Variant:
    """What Google's buildpack starts, for the function in the folder `root`."""
    path = [str(shop.libraries("gcp")), *more_path]
    options = ("--host", "127.0.0.1", "--port", "{port}", "--target", "gateway", "--source", "main.py")
    return Variant(
        name,
        (PYTHON, "-m", "functions_framework", *options),
        root,
        # The workspace's own bytecode does not outlive Google's image build, so there is none.
        {**environ, "PYTHONPATH": os.pathsep.join(path), "PYTHONDONTWRITEBYTECODE": "1"},
        bearer(key),
    )


def azure(name: str, shop: Workshop, root: Path, environ: Mapping[str, str], key: str = "none") -> Variant:
    """Microsoft's worker library, and the stand-in for the host before it in the same process."""
    path = [str(shop.libraries("azure")), str(REPOSITORY), str(RUNTIMES)]
    return Variant(
        name,
        (PYTHON, "-m", "local.azure_host", "--port", "{port}", "--app-dir", str(root)),
        REPOSITORY,
        {**environ, "PYTHONPATH": os.pathsep.join(path)},
        bearer(key),
    )


def aws(name: str, shop: Workshop, root: Path, environ: Mapping[str, str], key: str = "none") -> Variant:
    """A sandbox as Lambda starts it, for the function in the folder `root`; it still has to be told its Runtime API."""
    told = {name: value for name, value in Function(root).environ("").items() if name.startswith(_LAMBDA_SETS)}
    return Variant(
        name,
        (str(root / "run"), PYTHON),
        root,
        {
            **told,
            **environ,
            "LAMBDA_TASK_ROOT": str(root),
            "LAMBDA_RUNTIME_DIR": str(RUNTIMES),  # where boto3 lies there
            "PYTHONPATH": str(shop.libraries("aws")),
        },
        bearer(key),
    )


def aws_handler(name: str, file: str, shop: Workshop, environ: Mapping[str, str]) -> Variant:
    """One of the benchmark's own functions on the runtime that the gateway brings for Lambda."""
    own = shop.root("aws")
    files = {"streaming_runtime__py": own / "streaming_runtime.py", "run": own / "run"}
    root = compiled(handler(f"aws-{file}", lambda_function__py=HANDLERS / f"{file}.py", **files))
    return aws(name, shop, root, environ)


def gcp_handler(name: str, file: str, shop: Workshop, environ: Mapping[str, str], key: str = "none") -> Variant:
    """One of the benchmark's own functions on Google's runtime. It may import from this checkout, except the core."""
    root = handler(f"gcp-{file}", main__py=HANDLERS / f"{file}.py")
    return gcp(name, shop, root, environ, key, more_path=[str(REPOSITORY)])


def azure_handler(name: str, file: str, shop: Workshop, environ: Mapping[str, str]) -> Variant:
    """One of the benchmark's own functions on Azure's runtime, with the web server that the gateway brings."""
    own = shop.root("azure")
    files = {"http_stream__py": own / "http_stream.py", "host__json": own / "host.json"}
    root = handler(f"azure-{file}", function_app__py=HANDLERS / f"{file}.py", **files)
    return azure(name, shop, _with_core(root, own), environ)


def thin_httpx(shop: Workshop, upstream_url: str) -> Variant:
    root = compiled(handler("thin-httpx", thin_httpx__py=HANDLERS / "thin_httpx.py"))
    options = ("--port", "{port}", "--no-access-log", "--log-level", "warning", "--lifespan", "off")
    return Variant(
        "thin proxy, httpx2",
        (PYTHON, "-m", "uvicorn", "thin_httpx:application", *options),
        root,
        {**base_environ(shop, upstream_url), "PYTHONPATH": str(shop.libraries("gcp"))},
    )


def _with_core(root: Path, package: Path) -> Path:
    """`http_stream.py` writes its errors in OpenAI's shape, which it has from the core."""
    (root / "core").symlink_to(package / "core")
    return compiled(root)
