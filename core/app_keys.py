"""App keys: what they look like, how they are made, and the only form in which they are kept.

A key is `tfl_`, 32 random characters (190 bits) and 6 of a checksum. The prefix lets secret scanners find a leaked key;
the checksum tells a mistyped one without asking the store.
"""

from __future__ import annotations

import hashlib
import secrets
import string
import zlib

PREFIX = "tfl_"
_ALPHABET = string.digits + string.ascii_uppercase + string.ascii_lowercase
_RANDOM_CHARACTERS = 32
_CHECKSUM_CHARACTERS = 6  # 62**6 > 2**32
_LENGTH = len(PREFIX) + _RANDOM_CHARACTERS + _CHECKSUM_CHARACTERS


def generate() -> str:
    stem = PREFIX + "".join(secrets.choice(_ALPHABET) for _ in range(_RANDOM_CHARACTERS))
    return stem + _checksum(stem)


def is_well_formed(key: str) -> bool:
    """Whether `generate` could have made this key."""
    if len(key) != _LENGTH or not key.isascii() or not key.startswith(PREFIX):
        return False
    return secrets.compare_digest(key[-_CHECKSUM_CHARACTERS:], _checksum(key[:-_CHECKSUM_CHARACTERS]))


def digest(key: str) -> str:
    """The key's SHA-256 in hexadecimal. It needs no salt and no slow hash: 190 random bits cannot be guessed."""
    return hashlib.sha256(key.encode()).hexdigest()


def _checksum(stem: str) -> str:
    number, characters = zlib.crc32(stem.encode()), ""
    for _ in range(_CHECKSUM_CHARACTERS):
        number, digit = divmod(number, len(_ALPHABET))
        characters = _ALPHABET[digit] + characters
    return characters
