"""A cloud's zip as terraform/package.py builds it, but for this machine, so that it can be run here."""

from __future__ import annotations

import os
import platform
import subprocess
import sys
import zipfile
from pathlib import Path

from local.staging import REPOSITORY

_ARCHITECTURES = {"aarch64": "arm64", "arm64": "arm64", "x86_64": "x86_64"}


def build(cloud: str, output: Path, *options: str) -> Path:
    """The zip, with its description beside it."""
    command = [sys.executable, str(REPOSITORY / "terraform" / "package.py"), cloud, "--output", str(output), *options]
    done = subprocess.run(command, check=False, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    return output / f"{cloud}.zip"


def build_here(cloud: str, output: Path, *options: str) -> Path:
    """The zip for this machine and this Python."""
    version = f"{sys.version_info.major}.{sys.version_info.minor}"
    return build(cloud, output, "--on", _ARCHITECTURES[platform.machine()], "--python-version", version, *options)


def unpack(package: Path, into: Path) -> Path:
    """What the cloud has of it: files with the modes that the zip says, and no others."""
    into.mkdir()
    with zipfile.ZipFile(package) as archive:
        for entry in archive.infolist():
            os.chmod(archive.extract(entry, into), entry.external_attr >> 16 & 0o777)
    return into
