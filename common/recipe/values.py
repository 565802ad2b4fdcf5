"""Values of recipe fields: from `--set` text and JSON to the types of the fields' annotations."""

import contextlib
import json
import types
import typing
from typing import Any, Literal

from common.errors import UserError, brief

QUOTED = set(",()[]'\" ")  # characters that a text in a list can hold only in quotes


def format_value(value: Any) -> str:
    """A value as text for `--set`; `parse` reads it back."""
    if not isinstance(value, tuple | list):
        return str(value)
    plain = all(not isinstance(v, tuple | list) and not set(str(v)) & QUOTED for v in value)
    return ",".join(format_value(v) for v in value) if value and plain else json.dumps(value, default=str)


def parse(kind: Any, text: str) -> Any:
    """Read the text of a `--set` value as a Python value of JSON's types; `checked` then checks its type.

    A list is written `1,2`, `(1, 2)`, or as JSON. Texts with commas or brackets need JSON. An empty list is `none`.
    """
    if kind is str:
        return text
    if typing.get_origin(kind) in (types.UnionType, typing.Union):
        return _parse_union(typing.get_args(kind), text)
    if typing.get_origin(kind) is not tuple:
        return _literal(text)
    args = typing.get_args(kind)
    if args[-1] is Ellipsis and args[0] is not str and text.strip().lower() == "none":
        return []
    values = _literal(text)
    if not isinstance(values, list):
        if typing.get_origin(args[0]) is tuple and text.strip("() "):  # nested lists are written as JSON
            return values
        values = [parse(args[0], part) for part in _parts(text, bare=args[0] is str)]
    # One number for a pair: both sides of a crop.
    return values * len(args) if len(values) == 1 and args[-1] is not Ellipsis else values


def _parts(text: str, bare: bool) -> list[str]:
    """The parts between the commas. In `bare` texts brackets belong to a part, unless quotes follow them."""
    is_enclosed = text[:1] + text[-1:] in ("()", "[]") and not (bare and text[1:2] not in ("'", '"', ")"))
    return [part.strip().strip("'\"") for part in (text[1:-1] if is_enclosed else text).split(",") if part.strip()]


def _parse_union(options: tuple[Any, ...], text: str) -> Any:
    """The value of the first type that takes the text; the plain value when none does."""
    for option in options:
        value = parse(option, text)
        try:
            checked("", option, value)
        except UserError:
            continue
        return value
    return _literal(text)


def _literal(text: str) -> Any:
    for read in (json.loads, float, lambda t: {"true": True, "false": False, "none": None}[t.lower()]):
        try:
            return read(text)
        except (ValueError, KeyError, RecursionError):
            continue
    return text


def checked(key: str, kind: Any, value: Any) -> Any:
    """`value` as type `kind`; lists become tuples, and integers become floats if `kind` is float."""
    origin, args = typing.get_origin(kind), typing.get_args(kind)
    if origin in (types.UnionType, typing.Union):
        for option in args:
            try:
                return checked(key, option, value)
            except UserError:
                continue
    elif origin is Literal:
        if any(value == arg and type(value) is type(arg) for arg in args):
            return value
    elif origin is tuple:
        if isinstance(value, list | tuple):
            kinds = args[:1] * len(value) if args[-1] is Ellipsis else args
            if len(kinds) == len(value):
                return tuple(checked(key, k, v) for k, v in zip(kinds, value, strict=True))
    elif kind is float:
        if isinstance(value, int | float) and not isinstance(value, bool):
            with contextlib.suppress(OverflowError):  # a whole number of hundreds of digits is refused below
                return float(value)
    elif isinstance(value, kind) and (kind is bool or not isinstance(value, bool)):
        return value
    raise UserError(f"{key}={brief(format_value(value))}: needs {_describe(kind)}")


def _describe(kind: Any) -> str:
    origin, args = typing.get_origin(kind), typing.get_args(kind)
    if origin in (types.UnionType, typing.Union):
        return " or ".join(_describe(a) for a in args)
    if origin is Literal:
        return " or ".join(repr(a) for a in args) if len(args) < 3 else "one of " + ", ".join(map(str, args))
    if origin is tuple:
        if len(set(args)) > 1 and args[-1] is not Ellipsis:
            return f"({', '.join(_describe(a) for a in args)})"
        inner = _describe(args[0])
        return f"a list of {inner}" if args[-1] is Ellipsis else f"{len(args)} values, each {inner}"
    names = {bool: "true or false", int: "a whole number", float: "a number", str: "a text", types.NoneType: "none"}
    return names[kind]
