"""The configuration of a pipeline, from the manifest of its release and the settings."""

import json
from pathlib import Path
from typing import Any

from recmesh.contract import CHAIN_CANDIDATES, MAX_RANKED_ITEMS
from recmesh.errors import ReleaseError
from recmesh.releases import Manifest, RankerModel
from services.rank.paddle_serving.plan import OP, Plan, Shapes
from services.rank.paddle_serving.settings import PaddleServingSettings

_DEVICE_TYPES = {"cpu": 0, "gpu": 1, "tensorrt": 2}
_VARIABLE_TYPES = {"int64": 0, "float32": 1}
_MODEL_CONFIG = "serving_server_conf.prototxt"
# Calls that a pipeline handles at once: one computes while others are read and written.
_MIN_WORKERS = 4


def ranker_of(manifest: Manifest) -> RankerModel:
    """The description of a release's ranker.

    Raises:
        ReleaseError: The release is too old to be served by Paddle Serving.
    """
    if manifest.ranker is None:
        raise ReleaseError(f"release {manifest.id} does not describe the inputs of its ranker (format 1): train again")
    return manifest.ranker


def plan(manifest: Manifest, model: Path, address: str, number: int, settings: PaddleServingSettings) -> Plan:
    """The plan of one pipeline.

    Args:
        manifest: Of the release.
        model: A folder written by `write_model_folder`.
        address: The gRPC address at which the pipeline listens.
        number: Index of the pipeline; it selects the GPU.
        settings: Of the gateway.
    """
    ranker = ranker_of(manifest)
    return Plan(
        release=manifest.id,
        address=address,
        inputs=ranker.inputs,
        outputs=ranker.outputs,
        server=_server(ranker, model, number, settings),
        dynamic_shapes=_dynamic_shapes(ranker, settings),
    )


def write_model_folder(manifest: Manifest, release: Path, folder: Path) -> None:
    """Create the model folder that Paddle Serving reads: links to the ranker, and a description of its variables.

    Args:
        manifest: Of the release.
        release: The folder of the release.
        folder: The folder to create.
    """
    folder.mkdir(parents=True)
    for path in (release / "ranker").resolve().glob("*.pd*"):
        (folder / path.name).symlink_to(path)
    (folder / _MODEL_CONFIG).write_text(_variables(ranker_of(manifest)))


def _server(ranker: RankerModel, model: Path, number: int, settings: PaddleServingSettings) -> dict[str, Any]:
    batch = settings.paddle_serving_batch
    return {
        "worker_num": max(_MIN_WORKERS, 2 * batch),
        "build_dag_each_worker": False,
        # The op runs in one thread of the server's process. Threads that share a predictor mix up users' answers, and
        # an op in a process of its own is not restarted if it dies. More pipelines are more processes instead.
        "dag": {
            "is_thread_op": True,
            "retry": 1,
            "channel_size": 0,
            "use_profile": False,
            "tracer": {"interval_s": -1},
        },
        "op": {
            OP: {
                "concurrency": 1,
                "timeout": -1,
                "retry": 1,
                "batch_size": batch,
                "auto_batching_timeout": settings.paddle_serving_batch_window_ms if batch > 1 else -1,
                "local_service_conf": _local_service(ranker, model, number, settings),
            }
        },
    }


def _local_service(ranker: RankerModel, model: Path, number: int, settings: PaddleServingSettings) -> dict[str, Any]:
    """The configuration of the predictor."""
    return {
        "client_type": "local_predictor",
        "model_config": str(model),
        "device_type": _DEVICE_TYPES[settings.paddle_serving_device],
        "devices": _device(number, settings),
        "thread_num": settings.paddle_serving_threads,
        "precision": settings.paddle_serving_precision,
        "ir_optim": True,
        "mem_optim": True,
        "use_mkldnn": False,  # oneDNN slows a small DeepFM down three to six times.
        "fetch_list": list(ranker.outputs.values()),
    }


def _device(number: int, settings: PaddleServingSettings) -> str:
    """The GPU of pipeline `number`; empty on a CPU."""
    if settings.paddle_serving_device == "cpu":
        return ""
    devices = settings.paddle_serving_devices.split(",")
    return devices[number % len(devices)]


def _dynamic_shapes(ranker: RankerModel, settings: PaddleServingSettings) -> Shapes:
    """The input shapes for which TensorRT builds its engine; empty without TensorRT."""
    if settings.paddle_serving_device != "tensorrt":
        return {}
    batch = settings.paddle_serving_batch
    rows = {
        "min_input_shape": 1,
        "opt_input_shape": CHAIN_CANDIDATES * batch,
        "max_input_shape": MAX_RANKED_ITEMS * batch,
    }
    return {
        bound: {name: [count, tensor.width] for name, tensor in ranker.inputs.items()} for bound, count in rows.items()
    }


def _variables(ranker: RankerModel) -> str:
    """Paddle Serving's description of a model's variables, in protobuf's text format."""
    feeds = (
        _variable("feed", name, _VARIABLE_TYPES[tensor.dtype], tensor.width)
        for name, tensor in sorted(ranker.inputs.items())
    )
    fetches = (_variable("fetch", name, _VARIABLE_TYPES["float32"], 1) for name in ranker.outputs.values())
    return "".join([*feeds, *fetches])


def _variable(kind: str, name: str, variable_type: int, width: int) -> str:
    quoted = json.dumps(name)
    return (
        f"{kind}_var {{ name: {quoted} alias_name: {quoted} is_lod_tensor: false {kind}_type: {variable_type} "
        f"shape: {width} }}\n"
    )
