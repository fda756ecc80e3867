"""Argo CD's Lua in Python: Lua 5.1 with the libraries that it opens, objects in and out as its util/lua/lua.go converts them."""

from __future__ import annotations

from typing import Any

from lupa.lua51 import LuaRuntime, lua_type

CLOSED = ("string", "math", "io", "debug", "coroutine", "python")
"""Libraries that a script of argocd-cm does not have: Argo CD opens package, base, table and a safe part of os."""


def run(script: str, manifest: dict[str, Any]) -> Any:
    """What a health, discovery or action script returns for this object."""
    runtime = LuaRuntime(register_eval=False, register_builtins=False)
    names = runtime.globals()
    for name in CLOSED:
        names[name] = None
    names["obj"] = _into(runtime, manifest)
    return _out_of(runtime.execute(script))


def acted(script: str, manifest: dict[str, Any]) -> dict[str, Any]:
    """The object that an action makes of `manifest`, as Argo CD sends it on."""
    made = _cleaned(run(script, manifest), manifest)
    assert isinstance(made, dict)
    return made


def _into(runtime: LuaRuntime, value: Any) -> Any:
    match value:
        case bool() | str() | None:
            return value
        case int() | float():
            return float(value)
        case list():
            return runtime.table(*(_into(runtime, item) for item in value))
        case dict():
            return runtime.table_from({key: _into(runtime, item) for key, item in value.items() if item is not None})
    raise TypeError(f"{value!r} is not of JSON")


def _out_of(value: Any) -> Any:
    """A table with numbers as keys is an array, an empty one too (gopher-json knows no better)."""
    if lua_type(value) == "table":
        entries = dict(value.items())
        if all(isinstance(key, int | float) for key in entries):
            return [_out_of(entries[key]) for key in sorted(entries)]
        return {key: _out_of(item) for key, item in entries.items()}
    if isinstance(value, float) and value.is_integer():
        return int(value)
    return value


def _cleaned(new: Any, old: Any) -> Any:
    """Argo CD's cleanReturnedObj: an empty array where an object was is that object."""
    match new, old:
        case dict(), dict():
            return {key: _cleaned(item, old[key]) if key in old else item for key, item in new.items()}
        case [], dict():
            return old
        case list(), list():
            return [_cleaned(item, was) for item, was in zip(new, old, strict=False)]
    return new
