"""The `openai` SDK, imported without its types: half of its own time, for what a call of raw bytes never touches.

Every module that needs the SDK imports it from here: `from core.openai_sdk import openai`.

`import openai` runs the `__init__.py` of `openai.types` and of the packages in it, which only repeat names from some
470 modules. While the SDK is imported, such a package is made without being run, and a name is looked for when somebody
asks for it. If something else is asked of the package, it is run after all; one that is written otherwise is run at
once. So nothing depends on how the SDK is laid out but the time that this saves.
"""

from __future__ import annotations

import gc
import importlib
import re
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from importlib.abc import Loader, MetaPathFinder
from importlib.machinery import ModuleSpec, PathFinder, SourceFileLoader
from types import ModuleType
from typing import Any

__all__ = ["openai"]

_DEFERRED = ("openai.types", "openai.lib")

_COMMENTS = re.compile(r"#.*")
_REPEATED = re.compile(r"^from (\.+\w[\w.]*) import (?:\(([^()]*)\)|(.*))$", re.MULTILINE)
_NAME = re.compile(r"(\w+)(?: as \1)?")


class _DeferredPackages(MetaPathFinder):
    """Finds `openai.types` and the packages in it, and gives them a loader that puts their running off."""

    def find_spec(
        self, fullname: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        if not any(fullname == name or fullname.startswith(f"{name}.") for name in _DEFERRED):
            return None
        spec = PathFinder.find_spec(fullname, path, target)
        if spec is None or spec.submodule_search_locations is None or not isinstance(spec.loader, SourceFileLoader):
            return None
        modules = _repeated_names(spec.loader.get_source(fullname) or "")
        if modules is None:
            return None
        spec.loader = _Deferred(spec.loader, modules)
        return spec


class _Deferred(Loader):
    """Loads a package by running nothing."""

    def __init__(self, loader: SourceFileLoader, modules: dict[str, str]) -> None:
        self._loader = loader
        self._modules = modules
        """Which module of the package has each of its names."""

    def create_module(self, spec: ModuleSpec) -> ModuleType | None:
        return self._loader.create_module(spec)

    def exec_module(self, module: ModuleType) -> None:
        package = vars(module)

        def run() -> None:
            for hook in ("__getattr__", "__dir__"):
                package.pop(hook, None)
            self._loader.exec_module(module)

        def find(name: str) -> Any:
            if name in self._modules:
                value = getattr(importlib.import_module(self._modules[name], module.__name__), name)
            elif PathFinder.find_spec(f"{module.__name__}.{name}", module.__path__):
                value = importlib.import_module(f"{module.__name__}.{name}")
            else:
                run()
                return getattr(module, name)
            package[name] = value
            return value

        def names() -> list[str]:
            run()
            return dir(module)

        package.update(__getattr__=find, __dir__=names)


def _repeated_names(source: str) -> dict[str, str] | None:
    """Each name that a package repeats, and the module it is from; None where the package does anything else."""
    code = _COMMENTS.sub("", source).replace("from __future__ import annotations\n", "")
    if _REPEATED.sub("", code).strip():
        return None
    modules = {}
    for repeated in _REPEATED.finditer(code):
        for item in (repeated[2] or repeated[3]).strip().rstrip(",").split(","):
            name = _NAME.fullmatch(item.strip())
            if name is None:
                return None
            modules[name[1]] = repeated[1]
    # Of a module and what it has of the same name, a package has the one that it got last.
    return None if modules.keys() & {module.rpartition(".")[2] for module in modules.values()} else modules


@contextmanager
def _cheaply() -> Iterator[None]:
    """Import without what nobody here wants: the SDK's types, its other transport, and a search for garbage."""
    finder, had_garbage_collected = _DeferredPackages(), gc.isenabled()
    has_transport = "aiohttp" in sys.modules
    gc.disable()
    sys.meta_path.insert(0, finder)
    if not has_transport:
        sys.modules["aiohttp"] = None  # type: ignore[assignment] # by which an import of it fails
    try:
        yield
    finally:
        if not has_transport:
            del sys.modules["aiohttp"]
        sys.meta_path.remove(finder)
        # What is loaded now stays: no later search has to go through it.
        gc.freeze()
        if had_garbage_collected:
            gc.enable()


with _cheaply():
    import openai

    with suppress(ImportError):  # anyio loads this by itself, but not before the first call is waiting for it
        import anyio._backends._asyncio  # noqa: F401
