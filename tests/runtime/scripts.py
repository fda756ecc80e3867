"""Scripts that lie in no package, as modules: trainers, which their images start by path."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from types import ModuleType


def module_of(script: Path) -> ModuleType:
    """The script, imported anew."""
    spec = importlib.util.spec_from_file_location(f"script_{script.parent.name}", script)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module
