"""A server of raw bytes, over TCP or TLS: for each connection it plays a script."""

from __future__ import annotations

import asyncio
import socket
import ssl
import struct
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from ipaddress import ip_address
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

_LEAVE_SECONDS = 10.0

Script = Callable[["Peer"], Awaitable[None]]


@dataclass(slots=True, eq=False)
class Peer:
    """One connection, from the server's side."""

    reader: asyncio.StreamReader
    writer: asyncio.StreamWriter
    number: int
    """How many connections there were before it."""
    _ended: asyncio.Event = field(default_factory=asyncio.Event)

    async def ended(self) -> None:
        """Wait for the script's end: many end when the client has left."""
        async with asyncio.timeout(_LEAVE_SECONDS):
            await self._ended.wait()

    async def head(self) -> bytes:
        """The head of the next request; empty where the client has left instead."""
        try:
            return await self.reader.readuntil(b"\r\n\r\n")
        except asyncio.IncompleteReadError as error:
            if error.partial:
                raise
            return b""

    async def request(self) -> tuple[bytes, bytes]:
        """Head and body of the next request; both empty where the client has left instead."""
        head = await self.head()
        return head, await self.reader.readexactly(length_in(head))

    async def send(self, data: bytes) -> None:
        self.writer.write(data)
        await self.writer.drain()

    async def client_left(self) -> None:
        """Wait until it closes the connection."""
        async with asyncio.timeout(_LEAVE_SECONDS):
            with suppress(ConnectionError, ssl.SSLError):
                while await self.reader.read(1 << 20):
                    pass

    def reset(self) -> None:
        """End the connection as a crash does: with RST, and without TLS's goodbye."""
        end = self.writer.get_extra_info("socket")
        if end is None:  # uvloop has closed it: the client has left
            return
        end.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.writer.transport.abort()


@dataclass(slots=True)
class RawServer:
    url: str = ""
    peers: list[Peer] = field(default_factory=list)
    failures: list[BaseException] = field(default_factory=list)

    @classmethod
    @asynccontextmanager
    async def playing(
        cls, script: Script, tls: ssl.SSLContext | None = None, host: str = "127.0.0.1"
    ) -> AsyncIterator[RawServer]:
        """Raises, at the end, what a script raised."""
        server = cls()
        playing: set[asyncio.Task[None]] = set()

        async def converse(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            task = asyncio.current_task()
            assert task is not None
            playing.add(task)
            server.peers.append(peer := Peer(reader, writer, len(server.peers)))
            try:
                await script(peer)
            except (ConnectionError, asyncio.CancelledError):  # cancelled: the test is over
                pass
            except RuntimeError as error:  # what uvloop raises where the client has left
                if not writer.is_closing():
                    server.failures.append(error)
            except Exception as error:  # shown by the test, not by the event loop
                server.failures.append(error)
            finally:
                writer.close()
                playing.discard(task)
                peer._ended.set()

        listening = await asyncio.start_server(converse, host, 0, ssl=tls, limit=1 << 18)
        port = listening.sockets[0].getsockname()[1]
        name = f"[{host}]" if ":" in host else host
        server.url = f"{'https' if tls else 'http'}://{name}:{port}"
        try:
            yield server
        finally:
            listening.close()
            for task in playing:
                task.cancel()
            await asyncio.gather(*playing, return_exceptions=True)
            for peer in server.peers:
                peer.writer.transport.abort()
            await asyncio.sleep(0.01)  # until all are closed
        if server.failures:
            raise server.failures[0]

    async def all_ended(self) -> None:
        """Wait for all scripts' ends."""
        for peer in self.peers:
            await peer.ended()


def length_in(head: bytes) -> int:
    for line in head.lower().split(b"\r\n"):
        if line.startswith(b"content-length:"):
            return int(line[15:])
    return 0


@dataclass(frozen=True, slots=True)
class Certified:
    """Both sides' TLS: a certificate for 127.0.0.1, ::1 and localhost, and whoever trusts it."""

    server: ssl.SSLContext
    client: ssl.SSLContext

    @classmethod
    def made_in(cls, folder: Path) -> Certified:
        key = ec.generate_private_key(ec.SECP256R1())
        name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "Trefoil's tests")])
        addresses = [x509.IPAddress(ip_address(ip)) for ip in ("127.0.0.1", "::1")]
        now = datetime.now(UTC)
        certificate = (
            x509.CertificateBuilder()
            .subject_name(name)
            .issuer_name(name)
            .public_key(key.public_key())
            .serial_number(x509.random_serial_number())
            .not_valid_before(now - timedelta(hours=1))
            .not_valid_after(now + timedelta(days=2))
            .add_extension(x509.SubjectAlternativeName([*addresses, x509.DNSName("localhost")]), critical=False)
            .sign(key, hashes.SHA256())
            .public_bytes(serialization.Encoding.PEM)
        )
        private = serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
        file = folder / "certificate.pem"
        file.write_bytes(certificate + key.private_bytes(serialization.Encoding.PEM, *private))
        server = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        server.load_cert_chain(file)
        client = ssl.create_default_context(cadata=certificate.decode())
        client.set_alpn_protocols(["http/1.1"])
        return cls(server, client)
