"""Where the benchmark works: the packaged artefacts as each cloud has them, and what stands beside them."""

from __future__ import annotations

import asyncio
import compileall
import hashlib
import json
import os
import platform
import py_compile
import shutil
import ssl
import subprocess
import sys
import sysconfig
import zipfile
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from ipaddress import IPv4Address
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from core import app_keys
from core.admin import Admin
from core.ports import AppKey, Store
from core.sqlite_store import SqliteStore
from local.failure import Failure
from local.staging import REPOSITORY

FOLDER = REPOSITORY / ".trefoil/bench"
HANDLERS = Path(__file__).parent / "handlers"
CLOUDS = ("aws", "azure", "gcp")
PYTHON = getattr(sys, "_base_executable", sys.executable)
"""The interpreter without this project's virtual environment: a cloud has only what the package brings."""
RUNTIMES = Path(sysconfig.get_path("purelib"))
"""Where the clouds' own runtimes and boto3 lie, which the package need not bring."""

_ARCHITECTURES = {"aarch64": "arm64", "arm64": "arm64", "x86_64": "x86_64"}
_APP = "bench"
_LIMITS = {
    "requests_per_minute": 1_000_000_000,
    "tokens_per_minute": 1_000_000_000_000,
    "day_nano_usd": 10**17,
    "month_nano_usd": 10**18,
}
"""High enough to let everything through, and checked for each request like any others."""


@dataclass(frozen=True, slots=True)
class Workshop:
    """What a run needs, made in `FOLDER`."""

    certificate: Path
    """Of the upstream that speaks TLS."""
    certificate_key: Path
    trusted: Path
    """A folder that OpenSSL can search, with the certificate among the machine's own, as the clouds' Linux has one."""
    store: Path
    """The embedded store, which knows both keys."""
    limited_key: str
    """An app's with limits and a budget."""
    free_key: str
    """An app's without."""

    def root(self, cloud: str) -> Path:
        return FOLDER / "unpacked" / cloud

    def libraries(self, cloud: str) -> Path:
        """Where the package's libraries lie."""
        if cloud == "azure":
            return self.root(cloud) / ".python_packages/lib/site-packages"
        return self.root(cloud) if cloud == "aws" else FOLDER / "gcp-site"

    def sizes(self, cloud: str) -> dict[str, int]:
        """What the package says of itself."""
        values: dict[str, int] = json.loads((FOLDER / "build" / f"{cloud}.json").read_text("utf-8"))
        return values


def prepare(*, package: bool) -> Workshop:
    """
    Args:
        package: whether to build the artefacts anew, and not to take those of the last run.

    Raises:
        Failure: something that is needed cannot be had.
    """
    FOLDER.mkdir(parents=True, exist_ok=True)
    for cloud in CLOUDS:
        if package or not (FOLDER / "build" / f"{cloud}.zip").is_file():
            _package(cloud)
        if _unpack(cloud) and cloud == "gcp":
            _install_for_gcp()
    certificate, key, trusted = _certificates()
    store = FOLDER / "store.sqlite3"
    for file in FOLDER.glob("store.sqlite3*"):
        file.unlink()
    limited, free = app_keys.generate(), app_keys.generate()
    asyncio.run(_fill(SqliteStore(store), limited, free))
    return Workshop(certificate, key, trusted, store, limited, free)


async def fill(store: Store, limited_key: str, free_key: str) -> None:
    """Have `store` know an app with limits and one without."""
    admin = Admin(store)
    await admin.create_app(f"{_APP}-limited", {"limits": _LIMITS})
    await admin.create_app(f"{_APP}-free", {})
    await admin.add_key(f"{_APP}-limited", limited_key)
    await admin.add_key(f"{_APP}-free", free_key)


async def _fill(store: SqliteStore, limited_key: str, free_key: str) -> None:
    await fill(store, limited_key, free_key)
    assert await store.get(AppKey.key(app_keys.digest(limited_key)))
    store.close()


def _package(cloud: str) -> None:
    version = f"{sys.version_info.major}.{sys.version_info.minor}"
    here = ("--on", _ARCHITECTURES[platform.machine()], "--python-version", version)
    script = REPOSITORY / "terraform" / "package.py"
    done = subprocess.run(
        [sys.executable, script, cloud, *here, "--output", FOLDER / "build"],
        check=False,
        capture_output=True,
        text=True,
    )
    if done.returncode:
        raise Failure(f"the package of {cloud} cannot be built: {done.stderr}")


def _unpack(cloud: str) -> bool:
    """Whether there was anything to do."""
    package, root = FOLDER / "build" / f"{cloud}.zip", FOLDER / "unpacked" / cloud
    mark, digest = root.with_suffix(".sha256"), hashlib.sha256(package.read_bytes()).hexdigest()
    if mark.is_file() and mark.read_text("utf-8") == digest:
        return False
    shutil.rmtree(root, ignore_errors=True)
    root.mkdir(parents=True)
    with zipfile.ZipFile(package) as archive:
        for entry in archive.infolist():
            Path(archive.extract(entry, root)).chmod(entry.external_attr >> 16 & 0o777)
    mark.write_text(digest, "utf-8")
    return True


def _install_for_gcp() -> None:
    """What Google's buildpack does: install requirements.txt, `core` from its wheel, and compile."""
    root, site = FOLDER / "unpacked/gcp", FOLDER / "gcp-site"
    [wheel] = root.glob("*.whl")
    lock = "".join(line for line in (root / "requirements.txt").open() if wheel.name not in line)
    mark, digest = site / ".lock", hashlib.sha256(lock.encode()).hexdigest()
    if not mark.is_file() or mark.read_text() != digest:
        shutil.rmtree(site, ignore_errors=True)
        listed = FOLDER / "gcp-requirements.txt"
        listed.write_text(lock)
        pip = (sys.executable, "-m", "pip", "--disable-pip-version-check", "--quiet", "install")
        options = ("--no-deps", "--require-hashes", "--only-binary", ":all:", "--no-compile")
        done = subprocess.run(
            [*pip, *options, "--target", site, "--requirement", listed], check=False, capture_output=True, text=True
        )
        if done.returncode:
            raise Failure(f"the libraries of gcp cannot be installed: {done.stderr}")
        mark.write_text(digest)
    shutil.rmtree(site / "core", ignore_errors=True)
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(site)
    compiled(site)


def compiled(folder: Path) -> Path:
    """`folder`, with bytecode that is used without a look at the source's date."""
    mode = py_compile.PycInvalidationMode.UNCHECKED_HASH
    compileall.compile_dir(folder, quiet=2, invalidation_mode=mode, force=True, workers=0)
    return folder


def handler(name: str, **files: Path) -> Path:
    """A folder with one of `HANDLERS` in it, compiled, and what else it needs by name."""
    folder = FOLDER / "handlers" / name
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    for target, source in files.items():
        shutil.copy(source, folder / target.replace("__", "."))
    return folder


def _certificates() -> tuple[Path, Path, Path]:
    certificate_file, key_file, trusted = FOLDER / "upstream.pem", FOLDER / "upstream-key.pem", FOLDER / "trusted"
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "Trefoil's benchmark")])
    addresses = x509.SubjectAlternativeName([x509.IPAddress(IPv4Address("127.0.0.1")), x509.DNSName("localhost")])
    now = datetime.now(UTC)
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - timedelta(hours=1))
        .not_valid_after(now + timedelta(days=2))
        .add_extension(addresses, critical=False)
        .sign(key, hashes.SHA256())
        .public_bytes(serialization.Encoding.PEM)
    )
    private = serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    certificate_file.write_bytes(certificate)
    key_file.write_bytes(key.private_bytes(serialization.Encoding.PEM, *private))
    shutil.rmtree(trusted, ignore_errors=True)
    trusted.mkdir()
    for own in Path(ssl.get_default_verify_paths().capath or os.devnull).glob("*.[0-9]"):
        (trusted / own.name).symlink_to(own.resolve())
    command = ["openssl", "x509", "-noout", "-hash", "-in", str(certificate_file)]
    digest = subprocess.run(command, check=True, capture_output=True, text=True).stdout.strip()
    (trusted / f"{digest}.0").symlink_to(certificate_file)
    return certificate_file, key_file, trusted
