"""JSON Schema (draft 2020-12) from typed dictionaries: only what the documents need."""

import inspect
import types
import typing
from typing import Any

__all__ = ["schema_of"]

Schema = dict[str, Any]

_PLAIN: dict[Any, Schema] = {
    str: {"type": "string"},
    int: {"type": "integer"},
    float: {"type": "number"},
    bool: {"type": "boolean"},
    type(None): {"type": "null"},
}


def schema_of(title: str, *documents: type, closed: bool = False) -> Schema:
    """A schema that any one of some TypedDict classes satisfies.

    ``closed`` forbids keys that the classes do not name, which is what a test wants and a reader
    of future documents does not.
    """
    definitions: dict[str, Schema] = {}
    anchors = [_reference(document, definitions, closed=closed) for document in documents]
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": title,
        "anyOf": anchors,
        "$defs": dict(sorted(definitions.items())),
    }


def _reference(kind: type, definitions: dict[str, Schema], *, closed: bool) -> Schema:
    name = kind.__name__
    if name not in definitions:
        definitions[name] = {}  # present already, should it refer to itself
        definitions[name] = _object(kind, definitions, closed=closed)
    return {"$ref": f"#/$defs/{name}"}


def _object(kind: type, definitions: dict[str, Schema], *, closed: bool) -> Schema:
    hints = typing.get_type_hints(kind, include_extras=False)
    required: frozenset[str] = vars(kind)["__required_keys__"]
    schema: Schema = {
        "type": "object",
        "properties": {
            name: _schema(hint, definitions, closed=closed) for name, hint in hints.items()
        },
        "required": [name for name in hints if name in required],
    }
    words = inspect.cleandoc(kind.__doc__ or "")
    if words and not words.startswith("dict("):
        schema = {"description": words, **schema}
    if closed:
        schema["additionalProperties"] = False
    return schema


def _schema(hint: Any, definitions: dict[str, Schema], *, closed: bool) -> Schema:
    if hint in _PLAIN:
        return _PLAIN[hint]
    if typing.is_typeddict(hint):
        return _reference(hint, definitions, closed=closed)
    origin, arguments = typing.get_origin(hint), typing.get_args(hint)
    if origin is typing.Literal:
        return {"enum": list(arguments)}
    inner = [_schema(argument, definitions, closed=closed) for argument in arguments]
    if origin in (typing.Union, types.UnionType):
        return {"anyOf": inner}
    if origin is list:
        return {"type": "array", "items": inner[0]}
    if origin is dict and arguments[0] is str:
        return {"type": "object", "additionalProperties": inner[1]}
    raise TypeError(f"no schema for {hint!r}")
