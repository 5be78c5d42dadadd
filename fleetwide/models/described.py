"""The base of all models: quick to import, described when somebody asks.

A process imports hundreds of models and uses few. So a model's validator is built when it is
first used, and the texts below its fields, which pydantic would look for in the source while the
class is made, are read when a JSON schema is asked for: each module's source once.
"""

import ast
import inspect
import sys
from collections.abc import Iterator
from functools import cache
from typing import Any

from pydantic import BaseModel, ConfigDict, GetJsonSchemaHandler
from pydantic.fields import FieldInfo
from pydantic.json_schema import JsonSchemaValue
from pydantic_core import CoreSchema


class Described(BaseModel):
    """A model whose JSON schema tells what the texts below its fields say."""

    model_config = ConfigDict(defer_build=True)

    @classmethod
    def __get_pydantic_json_schema__(
        cls, core_schema: CoreSchema, handler: GetJsonSchemaHandler, /
    ) -> JsonSchemaValue:
        schema = handler(core_schema)
        properties = handler.resolve_ref_schema(schema).get("properties", {})
        for field, text in field_texts(cls).items():
            for key in _keys(field, cls.model_fields[field]) & properties.keys():
                properties[key].setdefault("description", text)
        return schema


def field_texts(model: type[BaseModel]) -> dict[str, str]:
    """The text below each field; a field that a subclass declares anew has none of its parent's."""
    found: dict[str, str] = {}
    for base in reversed(model.__mro__):
        texts = _texts(base.__module__).get(base.__qualname__, {})
        for field in inspect.get_annotations(base):
            found.pop(field, None)
            if field in model.model_fields and field in texts:
                found[field] = texts[field]
    return found


def _keys(name: str, field: FieldInfo) -> set[str]:
    """What a field can be called in a schema."""
    given = (field.alias, field.validation_alias, field.serialization_alias)
    return {name, *(alias for alias in given if isinstance(alias, str))}


@cache
def _texts(module: str) -> dict[str, dict[str, str]]:
    """By class and field; empty for a module that has no source."""
    try:
        source = inspect.getsource(sys.modules[module])
    except (KeyError, OSError, TypeError):
        return {}
    return {name: dict(_below_fields(node)) for name, node in _classes(ast.parse(source), "")}


def _classes(tree: ast.AST, outside: str) -> Iterator[tuple[str, ast.ClassDef]]:
    """All classes of a tree by their qualified names."""
    for node in ast.iter_child_nodes(tree):
        match node:
            case ast.ClassDef():
                yield outside + node.name, node
                yield from _classes(node, f"{outside}{node.name}.")
            case ast.FunctionDef() | ast.AsyncFunctionDef():
                yield from _classes(node, f"{outside}{node.name}.<locals>.")
            case _:
                yield from _classes(node, outside)


def _below_fields(node: ast.ClassDef) -> Iterator[tuple[str, Any]]:
    """Each annotated name that a text follows, with the text."""
    for field, below in zip(node.body, node.body[1:], strict=False):
        match field, below:
            case (
                ast.AnnAssign(target=ast.Name(id=name)),
                ast.Expr(value=ast.Constant(value=str(text))),
            ):
                yield name, inspect.cleandoc(text)
