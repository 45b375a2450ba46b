"""JSON schemas for YAML: what pydantic says of a model, so written that errors name the place and the allowed values.

Pydantic writes a union as `anyOf`, and of that a validator only says that nothing matched. Here the branches of a union become one schema,
as most keywords of JSON schema look at values of one type alone (`pattern` at strings, `additionalProperties` at objects, ...); and objects
that a constant tells apart (`object: person`) become an `enum` of that constant, and a condition for each of its values.
"""

from __future__ import annotations

import functools
import inspect
import re
import typing
from collections.abc import Callable, Mapping, Sequence
from typing import Any, TypeAlias

from pydantic import BaseModel

from cio_dagster.specs import AnySpec

Schema: TypeAlias = dict[str, Any]

TEMPLATE = r"^\{\{.*\}\}$"
"""A string that is computed when the YAML is loaded, such as `{{ env.ACCOUNTS_TYPE }}`."""

UNIONS = ("anyOf", "oneOf")
LEFT_OUT = (*UNIONS, "$defs", "$ref", "title", "discriminator", "ui:order")
"""Keywords of which the schema has no more use, and names that only repeat the setting's own."""


@functools.cache
def spec_schema() -> Schema:
    """The schema of a sync spec: of all seven, told apart by `object`, with the words of their docstrings."""
    return _union([described(model_schema(spec), spec) for spec in typing.get_args(AnySpec)])


def model_schema(model: type[BaseModel]) -> Schema:
    """The schema of a model, without references and unions."""
    generated = model.model_json_schema()
    return _plain(generated, generated.get("$defs", {}))


def described(schema: Schema, model: type[BaseModel]) -> Schema:
    """The schema with the docstring's first paragraph, and what it and those of the base classes say of each setting."""
    texts: dict[str, str] = {}
    for each in reversed(model.__mro__):
        for names, text in re.findall(
            r"^(\w+(?:, \w+)*)\n((?: {4}.*\n?|\n)+)", inspect.cleandoc(each.__doc__ or ""), re.MULTILINE
        ):
            texts |= dict.fromkeys(names.split(", "), " ".join(text.split()))
    properties = {
        name: {"description": texts[name]} | each if name in texts else each for name, each in schema["properties"].items()
    }
    return schema | {"description": inspect.cleandoc(model.__doc__ or "").split("\n\n")[0], "properties": properties}


def with_schema(model: type[BaseModel], schema: Callable[[], Schema]) -> type[BaseModel]:
    """The model with another JSON schema, which is made when it is asked for."""

    def get(cls: type[BaseModel], core_schema: Any, handler: Any) -> Schema:
        return schema()

    return type(
        model.__name__,
        (model,),
        {"__get_pydantic_json_schema__": classmethod(get), "__module__": __name__, "__doc__": model.__doc__},
    )


def _plain(node: Mapping[str, Any], definitions: Mapping[str, Any]) -> Schema:
    if "$ref" in node:
        node = {**_definition(node, definitions), **node}
    plain: Schema = {}
    for keyword, value in node.items():
        if keyword in LEFT_OUT or (keyword == "default" and (value is None or str(value).startswith("__"))):
            continue
        if keyword == "properties":
            plain[keyword] = {name: _or_template(_plain(each, definitions)) for name, each in value.items()}
        elif keyword in ("additionalProperties", "items", "if", "then") and isinstance(value, dict):
            plain[keyword] = _plain(value, definitions)
        elif keyword == "allOf":
            plain[keyword] = [_plain(each, definitions) for each in value]
        else:
            plain[keyword] = value
    if any(union in node for union in UNIONS):
        return _union([_plain(branch, definitions) for branch in _branches(node, definitions)]) | plain
    return plain


def _definition(node: Mapping[str, Any], definitions: Mapping[str, Any]) -> Mapping[str, Any]:
    found: Mapping[str, Any] = definitions[node["$ref"].rsplit("/", 1)[1]]
    return found


def _branches(node: Mapping[str, Any], definitions: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    """The branches of a union, and of the unions among them."""
    if "$ref" in node:
        node = _definition(node, definitions)
    branches = [branch for union in UNIONS for branch in node.get(union, [])]
    return [each for branch in branches for each in _branches(branch, definitions)] if branches else [node]


def _union(branches: Sequence[Schema]) -> Schema:
    """One schema for what any of the branches allows. Where two are of one type, it asks only for what both ask for."""
    if any("type" not in branch for branch in branches):
        return {}
    objects = [branch for branch in branches if branch["type"] == "object"]
    others = [_pattern(branch) for branch in branches if branch["type"] != "object"]
    of_type: dict[str, list[Schema]] = {}
    for branch in [*([_told_apart(objects)] if len(objects) > 1 else objects), *others]:
        of_type.setdefault(branch["type"].replace("integer", "number"), []).append(branch)
    union: Schema = {"type": list(dict.fromkeys(branch["type"] for branch in [*objects, *others]))}
    for same in of_type.values():
        union |= {
            key: value for key, value in same[0].items() if key != "type" and all(each.get(key) == value for each in same)
        }
    if len(union["type"]) == 1:
        union["type"] = union["type"][0]
    return union


def _pattern(branch: Schema) -> Schema:
    """An enumeration of strings as a pattern, which leaves values of other types alone; as examples, editors still offer them."""
    values = branch.get("enum") or ([branch["const"]] if "const" in branch else [])
    if branch["type"] != "string" or not values:
        return branch
    kept = {keyword: value for keyword, value in branch.items() if keyword not in ("enum", "const")}
    return kept | {"pattern": f"^({'|'.join(map(re.escape, values))})$", "examples": values}


def _told_apart(objects: Sequence[Schema]) -> Schema:
    names = [name for name in objects[0]["properties"] if all("const" in each["properties"].get(name, {}) for each in objects)]
    if not names:
        return {"type": "object"}
    name = names[0]
    by_value = {each["properties"][name]["const"]: each for each in objects}
    conditions = [
        {"if": {"type": "object", "properties": {name: {"const": value}}, "required": [name]}, "then": each}
        for value, each in by_value.items()
    ]
    return {"type": "object", "required": [name], "properties": {name: {"enum": list(by_value)}}, "allOf": conditions}


def _or_template(schema: Schema) -> Schema:
    """A number may come from a template as well, such as an object type's id that is another one in each workspace."""
    types = schema.get("type", [])
    types = types if isinstance(types, list) else [types]
    if set(types) - {"null"} not in ({"integer"}, {"number"}):
        return schema
    return schema | {"type": [*types, "string"], "pattern": TEMPLATE}
