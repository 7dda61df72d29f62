"""The descriptions of the HTTP ports are current, and are OpenAPI."""

import json
import re

import pytest
from openapi_spec_validator import OpenAPIV31SpecValidator

from local import openapi
from recmesh.contract import METHOD_PATHS
from tests.servers import ROOT

SERVICES = ("as", "feed")
FILES = [f"{service}.{kind}" for service in SERVICES for kind in ("json", "html")]


def test_the_descriptions_are_current() -> None:
    committed = {path.name: path.read_text() for path in openapi.FOLDER.iterdir()}
    assert sorted(committed) == sorted(FILES)
    assert committed == openapi.descriptions(), "run `make protos` and commit the result"
    assert (ROOT / "docs" / "openapi").samefile(openapi.FOLDER)


@pytest.mark.parametrize("service", SERVICES)
def test_a_description_is_openapi_of_every_method_with_the_comments_of_the_protos(service: str) -> None:
    described = json.loads((openapi.FOLDER / f"{service}.json").read_text())
    OpenAPIV31SpecValidator(described).validate()
    assert set(described["paths"]) == {path for path in METHOD_PATHS.values() if path.startswith(f"/{service}.")}
    proto = (ROOT / "protos" / "recmesh" / "pb" / f"{service}.proto").read_text()
    words = " ".join(re.sub(r"^\s*//", "", line) for line in proto.splitlines())
    words = " ".join(words.split())
    schemas = described["components"]["schemas"]
    own = {name: schema for name, schema in schemas.items() if name.startswith(f"{service}.")}
    assert len(own) >= 6
    texts = [
        part["description"]
        for schema in own.values()
        for part in (schema, *schema["properties"].values())
        if "description" in part
    ]
    texts += [operations["post"]["summary"] for operations in described["paths"].values()]
    assert len(texts) >= 20
    assert [text for text in texts if text not in words] == []
