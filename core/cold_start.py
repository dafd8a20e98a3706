"""What makes a process start faster. An entry imports it before all else, and says when all is loaded.

Until then nobody searches for garbage, of which there is next to none; and what is loaded by then is never searched,
since it stays. Nor does pydantic, when it is loaded later, look through all installed packages for plugins: none is to
see what passes here.
"""

from __future__ import annotations

import gc
import os

gc.disable()
os.environ.setdefault("PYDANTIC_DISABLE_PLUGINS", "__all__")


def is_over() -> None:
    gc.freeze()
    gc.enable()
