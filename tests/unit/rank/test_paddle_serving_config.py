"""The configuration of a pipeline, on a CPU, on a GPU and with TensorRT."""

from pathlib import Path

import pytest
from pydantic import ValidationError

from recmesh.errors import ReleaseError
from recmesh.releases import Manifest
from services.rank.paddle_serving import config
from services.rank.paddle_serving.plan import Plan
from services.rank.paddle_serving.settings import PaddleServingSettings

MODEL = Path("/models/r1")


def settings_with(**values: object) -> PaddleServingSettings:
    """Settings by the names of their attributes without the prefix; the others have their defaults."""
    return PaddleServingSettings.model_validate({f"paddle_serving_{name}": value for name, value in values.items()})


def planned(manifest: Manifest, number: int = 0, **values: object) -> Plan:
    return config.plan(manifest, MODEL, "unix:/run/0", number, settings_with(**values))


def local_service(plan: Plan) -> dict[str, object]:
    service: dict[str, object] = plan.server["op"]["rank"]["local_service_conf"]
    return service


@pytest.mark.parametrize("device", ["cpu", "gpu", "tensorrt"])
def test_threads_never_share_a_predictor(manifest: Manifest, device: str) -> None:
    plan = planned(manifest, device=device, concurrency=4, threads=2)

    assert plan.server["dag"]["is_thread_op"] is True
    assert plan.server["op"]["rank"]["concurrency"] == 1
    assert plan.server["build_dag_each_worker"] is False


def test_a_pipeline_on_a_cpu(manifest: Manifest) -> None:
    plan = planned(manifest, threads=2)

    assert local_service(plan) == {
        "client_type": "local_predictor",
        "model_config": "/models/r1",
        "device_type": 0,
        "devices": "",
        "thread_num": 2,
        "precision": "fp32",
        "ir_optim": True,
        "mem_optim": True,
        "use_mkldnn": False,
        "fetch_list": ["scale_0.tmp_0", "scale_1.tmp_0"],
    }
    assert plan.dynamic_shapes == {}
    assert (plan.release, plan.address, plan.outputs["score"]) == ("r1", "unix:/run/0", "scale_0.tmp_0")


def test_pipelines_use_the_gpus_in_turn(manifest: Manifest) -> None:
    plans = [planned(manifest, number, device="gpu", devices="0,2", concurrency=3) for number in range(3)]

    assert [local_service(plan)["device_type"] for plan in plans] == [1, 1, 1]
    assert [local_service(plan)["devices"] for plan in plans] == ["0", "2", "0"]
    assert plans[0].dynamic_shapes == {}


def test_tensorrt_gets_the_possible_shapes_of_a_batch(manifest: Manifest) -> None:
    plan = planned(manifest, device="tensorrt", precision="fp16", batch=4, batch_window_ms=2)

    assert local_service(plan)["device_type"] == 2
    assert local_service(plan)["precision"] == "fp16"
    assert plan.dynamic_shapes == {
        "min_input_shape": {"dense": [1, 3], "sparse": [1, 2]},
        "opt_input_shape": {"dense": [1600, 3], "sparse": [1600, 2]},
        "max_input_shape": {"dense": [8000, 3], "sparse": [8000, 2]},
    }


def test_only_batching_waits_for_more_requests(manifest: Manifest) -> None:
    unbatched, batched = planned(manifest).server, planned(manifest, batch=8, batch_window_ms=2).server

    assert (unbatched["op"]["rank"]["batch_size"], unbatched["op"]["rank"]["auto_batching_timeout"]) == (1, -1)
    assert (batched["op"]["rank"]["batch_size"], batched["op"]["rank"]["auto_batching_timeout"]) == (8, 2)
    assert batched["worker_num"] >= 8, "a batch could never be filled"


@pytest.mark.parametrize(
    "invalid",
    [
        {"device": "tpu"},
        {"devices": "0,"},
        {"devices": "a"},
        {"concurrency": 0},
        {"device": "gpu", "precision": "fp16"},
    ],
)
def test_invalid_settings_are_refused(invalid: dict[str, object]) -> None:
    with pytest.raises(ValidationError):
        settings_with(**invalid)


def test_the_model_folder_describes_every_variable(manifest: Manifest, tmp_path: Path) -> None:
    (tmp_path / "release" / "ranker").mkdir(parents=True)
    for name in ("deepfm.pdmodel", "deepfm.pdiparams", "canary.npz"):
        (tmp_path / "release" / "ranker" / name).touch()
    config.write_model_folder(manifest, tmp_path / "release", tmp_path / "model")

    lines = (tmp_path / "model" / "serving_server_conf.prototxt").read_text().splitlines()
    assert lines[0] == 'feed_var { name: "dense" alias_name: "dense" is_lod_tensor: false feed_type: 1 shape: 3 }'
    assert lines[1] == 'feed_var { name: "sparse" alias_name: "sparse" is_lod_tensor: false feed_type: 0 shape: 2 }'
    assert [line.split('"')[1] for line in lines[2:]] == ["scale_0.tmp_0", "scale_1.tmp_0"]
    models = {path.name for path in (tmp_path / "model").iterdir()}
    assert models == {"deepfm.pdmodel", "deepfm.pdiparams", "serving_server_conf.prototxt"}


def test_a_release_of_format_1_is_refused(manifest: Manifest) -> None:
    with pytest.raises(ReleaseError, match="train again"):
        planned(manifest.model_copy(update={"format": 1, "ranker": None}))
