"""A running service with an admin key, for tests of those that call it: the gateway behind a real socket."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Iterator
from pathlib import Path

import uvicorn

from core.asgi import AsgiApplication
from core.gateway import Gateway
from core.settings import Settings
from core.sqlite_store import SqliteStore
from local.listener import listen
from manage_client import ADMIN_KEY


@contextlib.contextmanager
def running(store_file: Path, *, admin_key: str | None = ADMIN_KEY) -> Iterator[str]:
    """Serve in a thread for as long as the block runs; gives the URL."""
    environ = {"OPENAI_API_KEY": "sk-none", "TREFOIL_UPSTREAM_URL": "http://127.0.0.1:9/v1"}
    settings = Settings.load(environ | ({"TREFOIL_ADMIN_KEY": admin_key} if admin_key else {}))
    store = SqliteStore(store_file)
    gateway = Gateway(settings, store)
    application = AsgiApplication(lambda: gateway, body_limit_bytes=settings.limits.body_bytes)
    server = uvicorn.Server(uvicorn.Config(application, ws="none", lifespan="off", log_level="error", access_log=False))
    listener = listen("127.0.0.1", 0)
    thread = threading.Thread(target=server.run, args=([listener],), name="service")
    thread.start()  # the socket listens already: who connects before the loop runs is served a moment later
    try:
        yield f"http://127.0.0.1:{listener.getsockname()[1]}"
    finally:
        server.should_exit = True
        thread.join()
        store.close()
