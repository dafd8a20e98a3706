"""Whom this process trusts when it connects: one TLS context, which all its HTTP clients share."""

from __future__ import annotations

import os
import re
import ssl
from functools import cache

_HASHED = re.compile(r"[0-9a-f]{8}\.\d")
"""How the files are named in a folder in which OpenSSL looks certificates up one by one, when it needs them."""
_RED_HATS_FOLDER = "/etc/pki/ca-trust/extracted/pem/directory-hash"
"""Where Red Hat's systems, of which Amazon's is one, have the same certificates as in their one file."""
_RED_HATS_FILES = "/etc/pki/"


@cache
def context() -> ssl.SSLContext:
    """The machine's own certificates, or those of SSL_CERT_FILE or SSL_CERT_DIR.

    To read them all takes as long as a dozen requests, and a handshake needs one of them. So where they lie in a folder
    that OpenSSL can search, none is read now.
    """
    paths = ssl.get_default_verify_paths()
    folder = _searched_folder(paths)
    if folder is not None:
        trusting = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        trusting.load_verify_locations(capath=folder)
    elif paths.cafile or paths.capath:
        trusting = ssl.create_default_context()
    else:  # macOS and Windows keep theirs elsewhere
        import httpx2  # noqa: PLC0415 - no cloud needs it

        trusting = httpx2.create_ssl_context()
    trusting.set_alpn_protocols(["http/1.1"])
    return trusting


def _searched_folder(paths: ssl.DefaultVerifyPaths) -> str | None:
    """The folder that has the certificates which `paths` mean; None where there is none, or a file says otherwise."""
    if paths.cafile is not None and paths.cafile != paths.openssl_cafile:
        return None  # SSL_CERT_FILE, which takes precedence
    if paths.capath is not None and _is_hashed(paths.capath):
        return paths.capath
    if paths.cafile is not None and os.path.realpath(paths.cafile).startswith(_RED_HATS_FILES):
        return _RED_HATS_FOLDER if _is_hashed(_RED_HATS_FOLDER) else None
    return None


def _is_hashed(folder: str) -> bool:
    return os.path.isdir(folder) and any(_HASHED.fullmatch(name) for name in os.listdir(folder))
