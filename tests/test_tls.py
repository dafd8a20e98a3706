"""Whom the HTTP clients trust, by the variables that OpenSSL reads."""

from __future__ import annotations

import shutil
import ssl
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from core import tls
from core.http_client import HttpClient
from core.http_connection import ConnectFailed
from raw_server import Certified, Peer, RawServer

pytestmark = pytest.mark.anyio
needs_openssl = pytest.mark.skipif(
    shutil.which("openssl") is None, reason="needs the program openssl: install your system's package of that name"
)


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    for name in ("SSL_CERT_FILE", "SSL_CERT_DIR"):
        monkeypatch.delenv(name, raising=False)
    tls.context.cache_clear()
    yield tmp_path
    tls.context.cache_clear()


def _hashed(file: Path) -> Path:
    """A folder with the certificate under the name by which OpenSSL looks for it."""
    command = ["openssl", "x509", "-noout", "-hash", "-in", str(file)]
    digest = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout.strip()
    searched = file.parent / "hashed"
    searched.mkdir()
    shutil.copy(file, searched / f"{digest}.0")
    return searched


async def _body(certified: Certified) -> bytes:
    async def script(peer: Peer) -> None:
        await peer.request()
        await peer.send(b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok")

    async with RawServer.playing(script, certified.server) as server:
        client = HttpClient(server.url, connect_seconds=10, silence_seconds=10)
        try:
            return await (await client.send("GET", "/", {})).read()
        finally:
            await client.close()


async def test_the_system_s_certificates_do_not_vouch_for_everybody(folder: Path) -> None:
    with pytest.raises(ConnectFailed) as caught:
        await _body(Certified.made_in(folder))
    assert isinstance(caught.value.__cause__, ssl.SSLCertVerificationError)


async def test_a_file_of_certificates(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    certified = Certified.made_in(folder)
    monkeypatch.setenv("SSL_CERT_FILE", str(folder / "certificate.pem"))
    assert await _body(certified) == b"ok"


@needs_openssl
async def test_a_folder_that_openssl_searches(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    certified = Certified.made_in(folder)
    monkeypatch.setenv("SSL_CERT_DIR", str(_hashed(folder / "certificate.pem")))
    assert await _body(certified) == b"ok"
    assert tls.context().cert_store_stats()["x509_ca"] <= 1  # looked up, where the system's hundreds are not read


async def test_a_certificate_for_another_host_is_refused(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    certified = Certified.made_in(folder)
    monkeypatch.setenv("SSL_CERT_FILE", str(folder / "certificate.pem"))

    async def script(peer: Peer) -> None:
        await peer.request()

    async with RawServer.playing(script, certified.server) as server:
        client = HttpClient(
            server.url.replace("127.0.0.1", "127.0.0.2"),
            connect_seconds=10,
            silence_seconds=10,
        )
        with pytest.raises(ConnectFailed):
            await client.send("GET", "/", {})
        await client.close()
