"""Pictures and sounds without a model: real files, small, and the same for the same seed."""

from __future__ import annotations

import hashlib
import math
import struct
import zlib
from collections.abc import Iterator
from typing import Final

_SIDE: Final = 8  # pixels
_RATE: Final = 24_000  # samples a second, 16 bits each, one channel: what the service's pcm is
_MP3_FRAME: Final = b"\xff\xfb\x90\x64" + bytes(413)  # MPEG-1 layer III, 128 kbit/s, 44.1 kHz: 26 ms of silence
_MP3_FRAME_MS: Final = 26
# For the formats that are not built here: what such a file begins with, so that a client recognises it.
_MAGIC: Final = {"opus": b"OggS", "flac": b"fLaC", "aac": b"\xff\xf1", "jpeg": b"\xff\xd8\xff\xe0", "webp": b"RIFF"}
_CHUNK_BYTES: Final = 4096


def picture(seed: str, form: str, kilobytes: int = 0) -> bytes:
    """A picture of one colour, at least so large; `png` is a real one, other formats have the first bytes of one."""
    if form != "png":
        return _MAGIC[form] + hashlib.sha256(seed.encode()).digest() + bytes(1024 * kilobytes)
    colour = hashlib.sha256(seed.encode()).digest()[:3]
    rows = (b"\x00" + colour * _SIDE) * _SIDE
    header = struct.pack(">IIBBBBB", _SIDE, _SIDE, 8, 2, 0, 0, 0)
    filling = _png_chunk(b"trFl", bytes(1024 * kilobytes)) if kilobytes else b""  # a private chunk: readers skip it
    chunks = _png_chunk(b"IHDR", header) + filling + _png_chunk(b"IDAT", zlib.compress(rows)) + _png_chunk(b"IEND", b"")
    return b"\x89PNG\r\n\x1a\n" + chunks


def sound(ms: int, form: str) -> bytes:
    """A tone of so many milliseconds: `wav` and `pcm` are real, `mp3` is silent, others have only the first bytes."""
    match form:
        case "wav":
            pcm = _tone(ms)
            header = struct.pack("<4sI4s4sIHHIIHH4sI", b"RIFF", 36 + len(pcm), b"WAVE", b"fmt ", 16, 1, 1, _RATE,
                                 2 * _RATE, 2, 16, b"data", len(pcm))  # fmt: skip
            return header + pcm
        case "pcm":
            return _tone(ms)
        case "mp3":
            return _MP3_FRAME * math.ceil(ms / _MP3_FRAME_MS)
        case _:
            return _MAGIC[form] + bytes(8 * ms)


def in_chunks(content: bytes) -> Iterator[bytes]:
    """The pieces in which a sound is sent."""
    for start in range(0, len(content), _CHUNK_BYTES):
        yield content[start : start + _CHUNK_BYTES]


def _png_chunk(kind: bytes, content: bytes) -> bytes:
    return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))


def _tone(ms: int) -> bytes:
    """The sine of 240 Hz: a period is 100 samples."""
    period = struct.pack("<100h", *(round(9000 * math.sin(math.tau * place / 100)) for place in range(100)))
    count = _RATE * ms // 1000
    return (period * math.ceil(count / 100))[: 2 * count]
