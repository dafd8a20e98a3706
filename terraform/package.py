"""What is deployed: build/<cloud>.zip, built on any machine for the cloud's own.

    python terraform/package.py aws|azure|gcp|all [--architecture arm64] [--python-version 3.13] [--config FILE]

The same inputs give the same bytes: the checkout's files, the wheels that `<cloud>/requirements.lock` names by their
hashes, and the interpreter that compiles. Beside the zip, build/<cloud>.json says what it is and how large.

- aws: libraries, `core/` and the cloud's own files at the root, all with bytecode: /var/task is read-only, so what is
  not compiled here would be compiled at each cold start.
- azure: the same, the libraries where Azure's worker looks for them. Nothing is built there.
- gcp: Google's buildpack installs requirements.txt and compiles what it installs, but it compiles what else it finds in
  a way that the finished image does not use. So all but `main.py`, which the framework asks for, is a wheel here.

Bytecode needs an interpreter of the version that the cloud runs: this one, a python3.13 on the PATH, or one that uv
knows. Without one the zip works, and starts more slowly; this is said.
"""

from __future__ import annotations

import argparse
import base64
import hashlib
import json
import shutil
import subprocess
import sys
import tempfile
import tomllib
import zipfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

_REPOSITORY = Path(__file__).resolve().parent.parent
_PYTHON_VERSION = "3.13"
"""What all three clouds run."""
_DATE = (1980, 1, 1, 0, 0, 0)
"""The earliest that a zip can say."""
_ENTRY = "main.py"
"""The one module that Google's framework wants beside requirements.txt."""
_LEFT_OUT = ("RECORD", "INSTALLER", "REQUESTED", "direct_url.json")
"""What an installer writes into dist-info, which says how and where it was installed."""
_WHEEL_TAGS = ("manylinux2014", "manylinux_2_17", "manylinux_2_28")
"""The platforms of wheels that run there: each cloud's Linux has glibc 2.34 or later."""
_MACHINES = {"arm64": "aarch64", "x86_64": "x86_64"}


@dataclass(frozen=True)
class _Cloud:
    """How a cloud wants its zip."""

    architecture: str
    """What its functions run on unless told otherwise."""
    own_files: tuple[str, ...] = ()
    """What the zip holds of the cloud's folder beside its modules."""
    libraries: str = ""
    """Where the libraries lie in the zip."""
    root: str = ""
    """Where the zip is unpacked, as tracebacks show it."""


_CLOUDS: Mapping[str, _Cloud] = {
    "aws": _Cloud(architecture="arm64", own_files=("run",), root="/var/task"),
    "azure": _Cloud(
        architecture="x86_64",
        own_files=("host.json",),
        libraries=".python_packages/lib/site-packages",
        root="/home/site/wwwroot",
    ),
    "gcp": _Cloud(architecture="x86_64"),
}


@dataclass(frozen=True)
class _Target:
    """The machine that will run it."""

    architecture: str
    python_version: str

    def pip_options(self) -> Iterator[str]:
        for tag in _WHEEL_TAGS:
            yield from ("--platform", f"{tag}_{_MACHINES[self.architecture]}")
        yield from ("--implementation", "cp", "--python-version", self.python_version)
        if self.python_version != _PYTHON_VERSION:
            # To be run here. The libraries that ask for the cloud's own version do on an earlier one, too.
            yield "--ignore-requires-python"


class _PackageError(Exception):
    """What the person who packages can mend. The message says how."""


def main(arguments: Sequence[str] | None = None) -> int:
    options = _parse(arguments)
    try:
        for name in _CLOUDS if options.cloud == "all" else (options.cloud,):
            _package(name, _target(name, options), options.config, options.output)
    except _PackageError as error:
        print(f"package: {error}", file=sys.stderr)
        return 1
    return 0


def _parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="package.py", description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("cloud", choices=(*_CLOUDS, "all"))
    parser.add_argument("--architecture", choices=tuple(_MACHINES), help="of the function on AWS (default: arm64)")
    parser.add_argument("--on", choices=tuple(_MACHINES), help="any cloud's zip for this machine, to run it here")
    parser.add_argument("--python-version", default=_PYTHON_VERSION, help="(default: %(default)s)")
    parser.add_argument("--config", type=Path, default=_REPOSITORY / "trefoil.toml", help="(default: trefoil.toml)")
    parser.add_argument("--output", type=Path, default=_REPOSITORY / "build", help="the folder (default: build)")
    return parser.parse_args(arguments)


def _target(name: str, options: argparse.Namespace) -> _Target:
    chosen = options.on or (options.architecture if name == "aws" else None)
    return _Target(chosen or _CLOUDS[name].architecture, options.python_version)


def _package(name: str, target: _Target, config: Path, output: Path) -> None:
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        has_bytecode = _stage(name, root, target, config)
        output.mkdir(parents=True, exist_ok=True)
        package = output / f"{name}.zip"
        _write_zip(root, package)
        sizes = [file.stat().st_size for _, file in _files(root)]
    description = {
        "cloud": name,
        "architecture": target.architecture,
        "python": target.python_version,
        "has_bytecode": has_bytecode,
        "files": len(sizes),
        "zip_bytes": package.stat().st_size,
        "unpacked_bytes": sum(sizes),
        "sha256": hashlib.sha256(package.read_bytes()).hexdigest(),
    }
    package.with_suffix(".json").write_text(json.dumps(description, indent=2) + "\n", "utf-8")
    print(f"package: {package}: {description['zip_bytes']:,} bytes, {description['unpacked_bytes']:,} unpacked")


def _warn(name: str, version: str) -> None:
    print(
        f"package: {name}: no Python {version} was found, so there is no bytecode: cold starts take some 250 ms more. "
        f"Put python{version} on the PATH, or have uv fetch it: uv python install {version}",
        file=sys.stderr,
    )


# What goes in ---------------------------------------------------------------------------------------------------------


def _stage(name: str, root: Path, target: _Target, config: Path) -> bool:
    """Put into `root` all that the zip is to hold; whether its modules have bytecode."""
    if name == "gcp":
        _stage_for_buildpack(root, config)
        return False
    libraries = root / _CLOUDS[name].libraries
    libraries.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as folder:
        for wheel in _download(_REPOSITORY / name / "requirements.lock", target, Path(folder)):
            _unpack(wheel, libraries)
    _copy_own(name, root)
    _copy_core(root, config)
    has_bytecode = _compile(root, _CLOUDS[name].root, target.python_version)
    if not has_bytecode:
        _warn(name, target.python_version)
    return has_bytecode


def _stage_for_buildpack(root: Path, config: Path) -> None:
    shutil.copy(_REPOSITORY / "gcp" / _ENTRY, root)
    wheel = _build_wheel(root, config)
    lock = (_REPOSITORY / "gcp" / "requirements.lock").read_text("utf-8")
    digest = hashlib.sha256(wheel.read_bytes()).hexdigest()
    (root / "requirements.txt").write_text(f"{lock}./{wheel.name} --hash=sha256:{digest}\n", "utf-8")


def _copy_own(name: str, root: Path) -> None:
    folder = _REPOSITORY / name
    for file in (*folder.glob("*.py"), *(folder / own for own in _CLOUDS[name].own_files)):
        shutil.copy(file, root)


def _copy_core(root: Path, config: Path) -> None:
    """`core/` with its data, and the configuration beside it, which is where it looks."""
    for file in sorted((_REPOSITORY / "core").rglob("*")):
        name = file.relative_to(_REPOSITORY)
        if file.is_file() and file.suffix != ".pyc" and not any(part.startswith(".") for part in name.parts):
            (root / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(file, root / name)
    try:
        text = config.read_text("utf-8")
        tomllib.loads(text)
    except (OSError, ValueError) as error:
        raise _PackageError(f"{config} is no configuration: {error}") from None
    (root / "trefoil.toml").write_text(text, "utf-8")


def _build_wheel(into: Path, config: Path) -> Path:
    """A wheel of `core`, the configuration beside it, and Google's adapter, as `site-packages` will have them."""
    project = tomllib.loads((_REPOSITORY / "pyproject.toml").read_text("utf-8"))["project"]
    name = f"{project['name']}-{project['version']}"
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        for file in (_REPOSITORY / "gcp").glob("*.py"):
            if file.name != _ENTRY:
                shutil.copy(file, root)
        _copy_core(root, config)
        info = root / f"{name}.dist-info"
        info.mkdir()
        requires = "".join(f"Requires-Dist: {requirement}\n" for requirement in project["dependencies"])
        (info / "METADATA").write_text(
            f"Metadata-Version: 2.1\nName: {project['name']}\nVersion: {project['version']}\n"
            f"Requires-Python: {project['requires-python']}\n{requires}",
            "utf-8",
        )
        (info / "WHEEL").write_text(
            "Wheel-Version: 1.0\nGenerator: trefoil\nRoot-Is-Purelib: true\nTag: py3-none-any\n", "utf-8"
        )
        (info / "RECORD").write_text("".join(_record(root, f"{info.name}/RECORD")), "utf-8")
        wheel = into / f"{name}-py3-none-any.whl"
        _write_zip(root, wheel)
    return wheel


def _record(root: Path, itself: str) -> Iterator[str]:
    for name, file in _files(root):
        content = file.read_bytes()
        digest = base64.urlsafe_b64encode(hashlib.sha256(content).digest()).rstrip(b"=").decode()
        yield f"{name},sha256={digest},{len(content)}\n"
    yield f"{itself},,\n"


def _download(lock: Path, target: _Target, into: Path) -> list[Path]:
    """The wheels that the lock file names, as the configured package index has them for that machine."""
    if _run([sys.executable, "-m", "pip", "--version"], quiet=True).returncode:  # uv leaves it out
        _run([sys.executable, "-m", "ensurepip"], quiet=True)
    pip = (sys.executable, "-m", "pip", "--disable-pip-version-check", "--quiet", "download")
    which = ("--no-deps", "--require-hashes", "--only-binary", ":all:", "--requirement", str(lock))
    done = _run([*pip, *which, "--dest", str(into), *target.pip_options()])
    if done.returncode:
        raise _PackageError(f"{lock}: pip cannot get all of it for {target.architecture}, see above.")
    return sorted(into.glob("*.whl"))


def _unpack(wheel: Path, into: Path) -> None:
    with zipfile.ZipFile(wheel) as archive:
        for entry in archive.infolist():
            place = _place(PurePosixPath(entry.filename))
            if place is None or entry.is_dir():
                continue
            (into / place).parent.mkdir(parents=True, exist_ok=True)
            (into / place).write_bytes(archive.read(entry))


def _place(name: PurePosixPath) -> PurePosixPath | None:
    """Where a wheel's file belongs; None for what no function uses: commands, stubs, an installer's notes."""
    if ".." in name.parts or name.is_absolute() or name.suffix in (".pyi", ".pyc"):
        return None
    if name.parts[0].endswith(".data"):
        return PurePosixPath(*name.parts[2:]) if name.parts[1] in ("purelib", "platlib") else None
    if name.parts[0].endswith(".dist-info") and name.name in _LEFT_OUT:
        return None
    return name


# How it goes in -------------------------------------------------------------------------------------------------------


def _compile(root: Path, shown_as: str, version: str) -> bool:
    """Make bytecode that is used without a look at the source's date, which the zip does not keep.

    Returns:
        False if there is no interpreter of that version.
    """
    python = _interpreter(version)
    if python is None:
        return False
    options = ("-q", "-j", "0", "--invalidation-mode", "unchecked-hash", "-s", str(root), "-p", shown_as, str(root))
    done = _run([python, "-I", "-m", "compileall", *options])
    if done.returncode:
        raise _PackageError("something does not compile, see above.")
    return True


def _interpreter(version: str) -> str | None:
    found = (sys.executable, shutil.which(f"python{version}"), _known_to_uv(version))
    return next((python for python in found if python and _version_of(python) == version), None)


def _known_to_uv(version: str) -> str | None:
    uv = shutil.which("uv")
    if uv is None:
        return None
    command = [uv, "python", "find", "--no-python-downloads", "--no-project", version]
    return _run(command, quiet=True).stdout.strip()


def _version_of(python: str) -> str:
    command = [python, "-I", "-c", "import sys; print('%d.%d' % sys.version_info[:2])"]
    return _run(command, quiet=True).stdout.strip()


def _write_zip(root: Path, path: Path) -> None:
    """The same bytes from the same files, whoever owns them and whenever they were written."""
    unfinished = path.with_name(path.name + ".new")
    with zipfile.ZipFile(unfinished, "w", zipfile.ZIP_DEFLATED, compresslevel=9) as archive:
        for name, file in _files(root):
            entry = zipfile.ZipInfo(name, _DATE)
            entry.create_system = 3  # Unix, whose modes the clouds keep
            entry.external_attr = (0o100755 if name == "run" else 0o100644) << 16
            entry.compress_type = zipfile.ZIP_DEFLATED
            archive.writestr(entry, file.read_bytes())
    unfinished.replace(path)


def _files(root: Path) -> list[tuple[str, Path]]:
    return sorted((file.relative_to(root).as_posix(), file) for file in root.rglob("*") if file.is_file())


def _run(command: Sequence[str], *, quiet: bool = False) -> subprocess.CompletedProcess[str]:
    # Nothing here comes from outside but the options of whoever packages.
    return subprocess.run(command, check=False, capture_output=quiet, text=True)  # noqa: S603


if __name__ == "__main__":
    sys.exit(main())
