"""`python -m tests.known_settings`: every RECMESH_ setting of services and jobs, with type, range and who reads it.

They are declared in classes of pydantic (services, and what jobs share) and in options of typer (jobs). The credentials
of stores, which jobs read from the environment, have the names and types of the services' settings.
"""

import enum
import importlib
import inspect
import sys
import typing
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import yaml
from pydantic import BaseModel
from typer.models import OptionInfo

from recmesh.dataset.reading import DatasetSettings
from recmesh.serving.settings import MilvusSettings, RedisSettings
from recmesh.settings import ProcessSettings
from recmesh.stores.milvus_users import ROOT_PASSWORD_FILE

PREFIX = "RECMESH_"

_SERVICES = {
    **{name: f"services.{name}.settings" for name in ("um", "cm", "recall", "rank", "as", "feed", "compact")},
    "paddle-serving": "services.rank.paddle_serving.settings",
}
_JOBS = ("train", "ingest", "archive", "data", "secrets", "import_model")
_READ_DATA_SETS = ("train", "ingest", "import_model")
_OPEN_STORES: Mapping[str, tuple[type[BaseModel], ...]] = {
    "ingest": (RedisSettings, MilvusSettings),
    "archive": (RedisSettings,),
}
_OF_STORES = ("redis_", "milvus_", "tls_certificate", "tls_key", "tls_ca", "tls_server_name")
_NOT_OF_JOBS = ("redis_pool",)
_TYPES = {Path: "string", str: "string", float: "number", int: "integer", bool: "boolean"}
_KEPT = ("type", "enum", "minimum", "maximum", "exclusiveMinimum", "default")

Schema = dict[str, Any]


def known() -> dict[str, Schema]:
    """For each variable its JSON schema, and in `components` who reads it: `um`, ..., or `job train`, ..."""
    found: dict[str, Schema] = {}
    for component, name, schema in _all():
        of_variable = found.setdefault(name, {**schema, "components": []})
        of_variable["components"] = sorted({*of_variable["components"], component})
    return dict(sorted(found.items()))


def _all() -> Iterator[tuple[str, str, Schema]]:
    for service, module in _SERVICES.items():
        settings = _own_class(importlib.import_module(module))
        yield from _with(service, _of_model(settings))
    for job in _JOBS:
        component = f"job {job}"
        yield from _with(component, _of_model(ProcessSettings))
        yield from _with(component, _of_options(job))
        if job in _READ_DATA_SETS:
            yield from _with(component, _of_model(DatasetSettings))
        for store in _OPEN_STORES.get(job, ()):
            fields = _of_model(store).items()
            yield from _with(component, {name: of for name, of in fields if _is_of_store(name)})
    yield "job data", f"{PREFIX}HOME", {"type": "string"}
    yield "job ingest", ROOT_PASSWORD_FILE, {"type": "string"}
    for name in ("TOKEN", "TOKEN_FILE"):
        yield "as", f"{PREFIX}{name}", {"type": "string"}


def _is_of_store(name: str) -> bool:
    field = name.removeprefix(PREFIX).lower()
    return field.startswith(_OF_STORES) and field not in _NOT_OF_JOBS


def _with(component: str, schemas: Mapping[str, Schema]) -> Iterator[tuple[str, str, Schema]]:
    for name, schema in schemas.items():
        yield component, name, schema


def _own_class(module: Any) -> type[BaseModel]:
    (found,) = (
        value
        for value in vars(module).values()
        if inspect.isclass(value) and issubclass(value, ProcessSettings) and value.__module__ == module.__name__
    )
    return typing.cast("type[BaseModel]", found)


def _of_model(model: type[BaseModel]) -> dict[str, Schema]:
    properties: dict[str, Schema] = model.model_json_schema()["properties"]
    return {f"{PREFIX}{name.upper()}": _simple(schema) for name, schema in properties.items()}


def _simple(schema: Schema) -> Schema:
    """A schema of one type: no variable is null, and a list is one text."""
    (schema, *_) = [part for part in schema.get("anyOf", [schema]) if part.get("type") != "null"]
    if schema.get("type") == "array":
        return {"type": "string", "default": ""}
    return {key: schema[key] for key in _KEPT if schema.get(key) is not None}


def _of_options(job: str) -> dict[str, Schema]:
    module = importlib.import_module(f"jobs.{job}.__main__")
    hints = typing.get_type_hints(getattr(module, job), include_extras=True)
    return dict(_of_option(hint) for hint in hints.values() if _option(hint) is not None)


def _option(hint: Any) -> OptionInfo | None:
    """The option of a parameter that also has a variable of recmesh."""
    options = [part for part in getattr(hint, "__metadata__", ()) if isinstance(part, OptionInfo)]
    return next((option for option in options if str(option.envvar or "").startswith(PREFIX)), None)


def _of_option(hint: Any) -> tuple[str, Schema]:
    option, kind = _option(hint), typing.get_args(hint)[0]
    assert option is not None
    if inspect.isclass(kind) and issubclass(kind, enum.Enum):
        return str(option.envvar), {"type": "string", "enum": [member.value for member in kind]}
    return str(option.envvar), {"type": _TYPES[kind]}


if __name__ == "__main__":
    yaml.safe_dump(known(), sys.stdout, sort_keys=False, width=120)
