"""client.py and the benchmark on a running mesh."""

import csv
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import TypeVar

import pytest
from google.protobuf import text_format
from google.protobuf.message import Message

from recmesh.pb import as_pb2, cm_pb2, rank_pb2, recall_pb2, um_pb2
from recmesh.pb.user_info_pb2 import UserInfo
from tests.mesh.conftest import ask_as, ids
from tests.processes import NAMES, Service, port_variables, start_service
from tests.servers import ROOT
from tests.shop import Shop

Answer = TypeVar("Answer", bound=Message)


def client(shop: Shop, service: Service, *arguments: str | Path) -> str:
    """What client.py prints; it must succeed."""
    command = [sys.executable, ROOT / "client.py", *arguments]
    done = subprocess.run(command, env=environment(shop, service), capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout + done.stderr


def environment(shop: Shop, service: Service) -> dict[str, str]:
    return {**os.environ, **shop.environment, **port_variables(service.ports)}


def rows(path: Path) -> list[list[str]]:
    with path.open(newline="") as file:
        return list(csv.reader(file))[1:]


def test_every_form_of_the_client(compact: Service, trained_shop: Shop) -> None:
    user_id, (first, second) = trained_shop.user_ids[0], trained_shop.sku_ids[:2]
    new = ["5.0", "1.0", "3.0", "11.0", "120.0", "741.0"]

    def ask(answer: Answer, *arguments: str) -> Answer:
        text_format.Parse(client(trained_shop, compact, *arguments), answer)
        return answer

    user = ask(um_pb2.UserModelResponse(), "um", user_id)
    assert (user.error.code, user.user_info.user_id) == (200, user_id)
    for arguments, count in (((first,), 1), ((f"{first},{second}",), 2), ((f"{first},", second), 2)):
        items = ask(cm_pb2.CMResponse(), "cm", *arguments)
        assert (items.error.code, len(items.item_infos)) == (200, count)
    candidates = ask(recall_pb2.RecallResponse(), "recall", user_id)
    assert (candidates.error.code, len(candidates.score_pairs)) == (200, 100)
    scores = ask(rank_pb2.RankResponse(), "rank")
    assert (scores.error.code, [pair.nid for pair in scores.score_pairs]) == (200, ["1"])
    for asked in [user_id], new:
        answer = ask(as_pb2.ASResponse(), "as", *asked)
        assert (answer.error.code, len(answer.item_infos), list(answer.degraded)) == (200, 50, [])


def test_a_batch_gives_what_as_gives(compact: Service, trained_shop: Shop, tmp_path: Path) -> None:
    """Known users, users that were held out (an id that um does not know, with a profile), and profiles alone."""
    known, queries, out = trained_shop.user_ids[:30], tmp_path / "queries.csv", tmp_path / "out.csv"
    lines = ["user_id,age,city", *(f"{user_id},," for user_id in known), "held-out,3.0,30.0", ",5.0,"]
    queries.write_text("\n".join(lines) + "\n")
    printed = client(trained_shop, compact, "batch", "--queries", queries, "--out", out, "--size", "20", "--new-only")

    assert "degraded: 0 answers" in printed
    predictions: dict[str, list[str]] = {}
    for user_id, sku_id in rows(out):
        predictions.setdefault(user_id, []).append(sku_id)
    target = compact.target("as")
    assert list(predictions) == [*known, "held-out", "row-33"]
    for user_id in known:
        assert predictions[user_id] == ids(ask_as(target, user_id=user_id, size=20, new_only=True))
    for name, profile in (("held-out", UserInfo(age="3.0", city="30.0")), ("row-33", UserInfo(age="5.0"))):
        assert predictions[name] == ids(ask_as(target, user_info=profile, size=20, new_only=True))


def test_scores_follow_the_order_of_as(compact: Service, trained_shop: Shop, tmp_path: Path) -> None:
    user_id = trained_shop.user_ids[3]
    answer = ask_as(compact.target("as"), user_id=user_id, size=20)
    pairs, users, out = tmp_path / "pairs.csv", tmp_path / "users.csv", tmp_path / "out.csv"
    pairs.write_text("user_id,sku_id\n" + "".join(f"{u},{k}\n" for u in (user_id, "held-out") for k in ids(answer)))
    users.write_text("user_id,age\nheld-out,3.0\n")
    client(trained_shop, compact, "score", "--by", "list", "--pairs", pairs, "--users", users, "--out", out)

    scored = rows(out)
    assert [(row[0], row[1]) for row in scored] == [(u, k) for u in (user_id, "held-out") for k in ids(answer)]
    assert [float(row[2]) for row in scored[:20]] == pytest.approx([i.rank_score for i in answer.item_infos], abs=1e-5)
    assert len({row[2] for row in scored[20:]}) > 1


def test_requests_survive_a_process_that_is_killed_and_restarted(trained_shop: Shop, tmp_path: Path) -> None:
    first = start_service("compact", tmp_path, trained_shop.environment)
    asked: list[str | Path] = [sys.executable, ROOT / "client.py", "as", trained_shop.user_ids[0], "--timeout", "60"]
    ports = {name: first.ports[name] for name in NAMES}
    first.kill()
    waiting = subprocess.Popen(asked, env=environment(trained_shop, first), stdout=subprocess.PIPE, text=True)
    second = start_service("compact", tmp_path, trained_shop.environment, ports)
    try:
        printed, _ = waiting.communicate(timeout=90)
    finally:
        second.stop()

    assert waiting.returncode == 0
    assert not text_format.Parse(printed, as_pb2.ASResponse()).degraded


def test_the_benchmark_measures_and_checks(compact: Service, trained_shop: Shop, tmp_path: Path) -> None:
    options: list[str | Path] = ["--quick", "--concurrency", "1,8", "--results", tmp_path]
    command = [sys.executable, "-m", "benchmarks.run", *options]
    metrics = {"RECMESH_METRICS_PORT": str(compact.ports["metrics"])}
    done = subprocess.run(
        command, cwd=ROOT, env=environment(trained_shop, compact) | metrics, capture_output=True, text=True, check=False
    )

    assert done.returncode == 0, done.stdout + done.stderr
    found = json.loads((tmp_path / "compact.json").read_text())
    assert [(load["service"], load["concurrency"]) for load in found["loads"]] == [
        (n, c) for n in NAMES for c in (1, 8)
    ]
    assert all(load["requests"] and not load["failed"] and not load["wrong"] for load in found["loads"])
    chain = found["loads"][-1]
    assert set(chain["cpu_ms"]) == set(chain["memory"]) == {"compact", "redis", "milvus", "generator"}
    assert len(found["parts"]) == 4
    assert found["chain_to_parts"] > 0
    assert set(found["stages"]["8"]) == {"um", "recall", "rank", "cm"}
    assert found["degraded"] == 0
