"""Lets the unmodified wheels of Paddle Serving 0.9.0 run their pipeline mode with current Python and protobuf.

Only that mode is imported. The `__init__` modules of the packages would load the C++ mode, whose binary no registry
has, and an HTTP front end. Two parts are replaced: the client of the C++ mode, and generated modules that protobuf 4
and later cannot load.
"""

import ast
import importlib.util
import sys
from pathlib import Path
from types import ModuleType

from google.protobuf import descriptor_pool, message_factory

from recmesh.pb import pipeline_service_pb2


def install() -> None:
    """Install the replacements. Call this before the first import of `paddle_serving_server.pipeline`."""
    for name in ("paddle_serving_server", "paddle_serving_app"):
        sys.modules[name] = _bare_package(name)
    sys.modules["paddle_serving_client"] = _client()
    sys.modules["func_timeout"] = ModuleType("func_timeout")  # For time limits of ops, which are not used here.
    sys.modules["paddle_serving_server.pipeline.proto.pipeline_service_pb2"] = pipeline_service_pb2
    old = "paddle_serving_app.proto.general_model_config_pb2"
    sys.modules[old] = _messages(old)


def _bare_package(name: str) -> ModuleType:
    """A package whose modules can be imported without running its `__init__`."""
    spec = importlib.util.find_spec(name)
    if spec is None:
        raise ImportError(f"{name} is not installed: it is in requirements/paddle-serving.txt", name=name)
    package = ModuleType(name)
    package.__path__ = list(spec.submodule_search_locations or ())
    package.__spec__ = spec
    return package


def _client() -> ModuleType:
    """A client module with nothing but the name `Client`: pipelines with a local predictor use no more of it."""
    module = ModuleType("paddle_serving_client")
    vars(module)["Client"] = type("Client", (), {})
    return module


def _messages(name: str) -> ModuleType:
    """The message classes of an old generated module, created from the file descriptor in its source."""
    spec = importlib.util.find_spec(name)
    assert spec is not None and spec.origin is not None
    nodes = ast.walk(ast.parse(Path(spec.origin).read_text()))
    # serialized_pb=_b('...'): each character is a byte.
    text = next(node.value for node in nodes if isinstance(node, ast.keyword) and node.arg == "serialized_pb")
    assert isinstance(text, ast.Call)
    serialized = ast.literal_eval(text.args[0]).encode("latin1")
    file = descriptor_pool.Default().AddSerializedFile(serialized)
    module = ModuleType(name)
    for message, descriptor in file.message_types_by_name.items():
        setattr(module, message, message_factory.GetMessageClass(descriptor))
    return module
