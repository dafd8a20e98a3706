"""What push.py speaks to, on this machine: Azure's resource manager, the app's deployment service, and the app."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

TOKEN = "token-of-whoever-is-logged-in"
_DEPLOYMENT = "c0ffee"
_REFERENCES = "/config/configreferences/appsettings"


@dataclass
class AzureDeploymentService:
    """Everything goes well, unless a test puts something else into the lists of what comes first."""

    url: str
    packages: list[bytes] = field(default_factory=list)
    """What was deployed."""
    app_ids: set[str] = field(default_factory=set)
    """Whose secrets were asked for."""
    first_secrets: list[str] = field(default_factory=list)
    """States of the Key Vault references, before they are `Resolved`."""
    first_uploads: list[tuple[int, str]] = field(default_factory=list)
    """Status and body of the answers to uploads, before one is taken."""
    first_states: list[int] = field(default_factory=list)
    """States of the deployment, before it has succeeded."""
    first_health: list[int] = field(default_factory=list)
    """Statuses of /healthz, before it is 200."""

    @classmethod
    @contextmanager
    def started(cls) -> Iterator[AzureDeploymentService]:
        server = ThreadingHTTPServer(("127.0.0.1", 0), _Handler)
        service = cls(f"http://127.0.0.1:{server.server_port}")
        server.service = service  # type: ignore[attr-defined]
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        try:
            yield service
        finally:
            server.shutdown()
            thread.join()
            server.server_close()

    def azure_cli(self, folder: Path) -> Path:
        """A folder with an `az` that gives the token."""
        place = folder / "bin"
        place.mkdir(exist_ok=True)
        program = place / "az"
        program.write_text(f'#!/bin/sh\n[ "$1 $2 $4" = "account get-access-token {self.url}/" ] && echo {TOKEN}\n')
        program.chmod(0o755)
        return place

    def answer(self, method: str, target: str, body: bytes) -> tuple[int, object]:
        path = urlsplit(target).path
        if path == "/healthz":
            return (self.first_health.pop(0) if self.first_health else 200), {}
        if path.endswith(f"{_REFERENCES}/refresh") and method == "POST":
            self.app_ids.add(path.removesuffix(f"{_REFERENCES}/refresh"))
            return 200, {}
        if path.endswith(_REFERENCES):
            state = self.first_secrets.pop(0) if self.first_secrets else "Resolved"
            return 200, {"value": [{"properties": {"status": "Resolved"}}, {"properties": {"status": state}}]}
        if path == "/api/publish" and method == "POST" and parse_qs(urlsplit(target).query)["RemoteBuild"] == ["false"]:
            if self.first_uploads:
                return self.first_uploads.pop(0)
            self.packages.append(body)
            return 202, _DEPLOYMENT
        if path == f"/api/deployments/{_DEPLOYMENT}" and self.packages:
            return 200, {"status": self.first_states.pop(0) if self.first_states else 4, "status_text": "as it is"}
        return 404, {}


class _Handler(BaseHTTPRequestHandler):
    def _answer(self) -> None:
        service: AzureDeploymentService = self.server.service  # type: ignore[attr-defined]
        body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        is_allowed = self.path == "/healthz" or self.headers.get("Authorization") == f"Bearer {TOKEN}"
        status, said = service.answer(self.command, self.path, body) if is_allowed else (401, "who are you?")
        content = json.dumps(said).encode()
        self.send_response(status)
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)

    do_GET = do_POST = _answer

    def log_request(self, code: int | str = "-", size: int | str = "-") -> None:
        """Say nothing."""
