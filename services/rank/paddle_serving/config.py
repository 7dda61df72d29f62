"""What one pipeline is started with, made from the release's manifest and the settings."""

import json
from pathlib import Path
from typing import Any

from recmesh.errors import ReleaseError
from recmesh.releases import Manifest, RankerModel
from services.rank.limits import MOST
from services.rank.paddle_serving.plan import OP, Plan, Shapes
from services.rank.paddle_serving.settings import PaddleServingSettings

_DEVICE_TYPES = {"cpu": 0, "gpu": 1, "tensorrt": 2}
_VARIABLE_TYPES = {"int64": 0, "float32": 1}
_MODEL_CONFIG = "serving_server_conf.prototxt"
# Rows that TensorRT optimizes for: what the chain asks rank for (RECMESH_CANDIDATES).
_USUAL_ROWS = 400
# Calls that a pipeline takes in at once: one computes, the others are read and written meanwhile.
_WORKERS = 4


def ranker_of(manifest: Manifest) -> RankerModel:
    """Raises ReleaseError when the release is too old to be served by Paddle Serving."""
    if manifest.ranker is None:
        raise ReleaseError(f"release {manifest.id} does not say how its ranker is fed: it is of format 1; train again")
    return manifest.ranker


def plan(manifest: Manifest, model: Path, address: str, number: int, settings: PaddleServingSettings) -> Plan:
    """The plan of pipeline `number` of a release. `model`: folder made by `lay_out`; `address`: where it listens."""
    ranker = ranker_of(manifest)
    return Plan(
        release=manifest.id,
        address=address,
        inputs=ranker.inputs,
        outputs=ranker.outputs,
        server=_server(ranker, model, number, settings),
        dynamic_shapes=_dynamic_shapes(ranker, settings),
    )


def lay_out(manifest: Manifest, release: Path, folder: Path) -> None:
    """Make the model folder that Paddle Serving wants: the release's ranker, and a description of its variables."""
    folder.mkdir(parents=True)
    for path in (release / "ranker").resolve().glob("*.pd*"):
        (folder / path.name).symlink_to(path)
    (folder / _MODEL_CONFIG).write_text(_variables(ranker_of(manifest)))


def _server(ranker: RankerModel, model: Path, number: int, settings: PaddleServingSettings) -> dict[str, Any]:
    batch = settings.paddle_serving_batch
    return {
        "worker_num": max(_WORKERS, 2 * batch),
        "build_dag_each_worker": False,
        # An op in a thread of the server's process, and one only: threads that share a predictor mix users' answers,
        # and an op in a process of its own that dies is never started again. More pipelines are more processes.
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
                "local_service_conf": {
                    "client_type": "local_predictor",
                    "model_config": str(model),
                    "device_type": _DEVICE_TYPES[settings.paddle_serving_device],
                    "devices": _device(number, settings),
                    "thread_num": settings.paddle_serving_threads,
                    "precision": settings.paddle_serving_precision,
                    "ir_optim": True,
                    "mem_optim": True,
                    "use_mkldnn": False,  # It slows a small DeepFM three to six times.
                    "fetch_list": list(ranker.outputs.values()),
                },
            }
        },
    }


def _device(number: int, settings: PaddleServingSettings) -> str:
    """The GPU of pipeline `number`; empty on a CPU."""
    if settings.paddle_serving_device == "cpu":
        return ""
    devices = settings.paddle_serving_devices.split(",")
    return devices[number % len(devices)]


def _dynamic_shapes(ranker: RankerModel, settings: PaddleServingSettings) -> Shapes:
    """The range of rows that TensorRT builds its engine for; empty without TensorRT."""
    if settings.paddle_serving_device != "tensorrt":
        return {}
    batch = settings.paddle_serving_batch
    rows = {"min_input_shape": 1, "opt_input_shape": _USUAL_ROWS * batch, "max_input_shape": MOST * batch}
    return {what: {name: [count, one.width] for name, one in ranker.inputs.items()} for what, count in rows.items()}


def _variables(ranker: RankerModel) -> str:
    """Paddle Serving's description of a model, in protobuf's text form."""
    feeds = (
        _variable("feed", name, _VARIABLE_TYPES[one.dtype], one.width) for name, one in sorted(ranker.inputs.items())
    )
    fetches = (_variable("fetch", name, _VARIABLE_TYPES["float32"], 1) for name in ranker.outputs.values())
    return "".join([*feeds, *fetches])


def _variable(kind: str, name: str, number: int, width: int) -> str:
    quoted = json.dumps(name)
    return (
        f"{kind}_var {{ name: {quoted} alias_name: {quoted} is_lod_tensor: false {kind}_type: {number} "
        f"shape: {width} }}\n"
    )
