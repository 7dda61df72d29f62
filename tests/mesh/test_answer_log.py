"""The log of answers of a running mesh: each answer is there, and asked again it is the same until the release changes.

The requests are of known users with and without a profile, of new ones and of nobody, with exclusions and `new_only`.
"""

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from google.protobuf.json_format import ParseDict

from recmesh.answers import LoggedAnswer, answer_files, read_answers
from recmesh.features import CHANNELS
from recmesh.features.spec import FeatureSpec
from recmesh.pb.as_pb2 import ASRequest, ASResponse
from recmesh.pb.um_pb2 import UserModelRequest
from recmesh.pb.user_info_pb2 import History, UserInfo
from tests.calls import AS, UM
from tests.mesh.conftest import ids
from tests.mesh.test_release_switch import copied_release
from tests.processes import Service, running
from tests.servers import ROOT, wait_until
from tests.shop import Shop, running_apart

LOGGED = "recmesh_logged_answers_total"
OTHER = "without-a-ranker"


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("home") / "answers"


@pytest.fixture(scope="module", params=["compact", "apart"])
def logging(request: pytest.FixtureRequest, trained_shop: Shop, folder: Path) -> Iterator[tuple[Service, Path]]:
    """The process with `as` of a mesh that logs every answer, and the folder of its log."""
    log = folder / request.param
    settings = {"RECMESH_ANSWER_SAMPLE": "1", "RECMESH_ANSWER_LOG": str(log)}
    if request.param == "compact":
        with running("compact", {**trained_shop.environment, **settings}) as service:
            yield service, log
    else:
        with running_apart(trained_shop, settings) as services:
            yield services["as"], log


def requests(shop: Shop) -> list[ASRequest]:
    profile = UserInfo(age="3.0", sex="1.0", city="12.0")
    known = shop.user_ids[:12]
    return [
        *(ASRequest(user_id=user, size=10) for user in known),
        *(ASRequest(user_id=user, new_only=True, exclude_ids=shop.sku_ids[:50]) for user in known[:4]),
        ASRequest(user_id=known[0], user_info=profile, size=200),
        ASRequest(user_id="unheard-of", user_info=profile),
        ASRequest(user_id="-1", user_info=profile, explain=True),
        ASRequest(log_id=77),
    ]


def logged(folder: Path) -> list[LoggedAnswer]:
    faults: list[str] = []
    answers = [answer for _, answer in read_answers(answer_files(folder), faults.append)]
    assert not faults
    return answers


def replay(target: str, *arguments: str) -> "tuple[int, dict[str, object]]":
    """Exit code and JSON of `recmesh replay`."""
    command = [sys.executable, "-m", "recmesh", "replay", "--json", *arguments]
    environment = {**os.environ, "RECMESH_AS_TARGET": target}
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, check=False)
    assert done.stdout, done.stderr
    return done.returncode, json.loads(done.stdout)


def test_every_answer_is_logged_and_repeats_until_the_release_changes(
    logging: tuple[Service, Path], trained_shop: Shop, tmp_path: Path
) -> None:
    service, log = logging
    target, first = service.target("as"), trained_shop.store.active()
    assert first is not None
    asked = requests(trained_shop)
    before = service.metric(LOGGED)
    answers = [AS.call(target, request) for request in asked]
    wait_until(lambda: service.metric(LOGGED) - before == len(asked), service, "the log of all answers")
    assert len(logged(log)) == len(asked)
    for line, request, answer in zip(logged(log), asked, answers, strict=True):
        check(line, request, answer, service)

    # Later calls of this test, which wait for releases, are logged as well.
    copy = shutil.copytree(log, tmp_path / "copy")
    code, report = replay(target, str(copy))
    assert (code, report["asked"], report["equal"], report["overlap"]) == (0, len(asked), len(asked), 1)
    assert (report["other_release"], report["bad_lines"], report["differences"]) == (0, 0, [])
    AS.call(target, asked[0])
    wait_until(lambda: service.metric(LOGGED) - before == len(asked) + 1, service, "the log of one more answer")
    assert len(logged(log)) == len(asked) + 1, "replayed requests are not logged"

    compare_with_next_actions(trained_shop, copy, asked, answers, tmp_path / "later")
    switch(trained_shop, service, tmp_path)
    try:
        code, report = replay(target, str(copy))
        assert code == 1
        assert report["other_release"] == len(asked)
        differences = report["differences"]
        assert isinstance(differences, list) and differences
        assert len(differences) == report["other_order"] + report["other_items"]  # type: ignore[operator]
        assert all(of["releases"] == [first, OTHER] for of in differences)
    finally:
        trained_shop.store.activate(first)
        wait_until(lambda: AS.call(target, ASRequest()).release == first, service, "the release of the other tests")


def compare_with_next_actions(
    shop: Shop, log: Path, asked: list[ASRequest], answers: list[ASResponse], later: Path
) -> None:
    """Six users order what their first answer shows first, three others the third item. The data then go on for a week.

    The other requests of these users are judged by the same orders. Three answers have no user of the data set.
    """
    places = dict.fromkeys(range(6), 0) | dict.fromkeys(range(6, 9), 2)
    orders = {asked[number].user_id: ids(answers[number])[place] for number, place in places.items()}
    shutil.copytree(shop.folder / "data", later)
    with (later / "actions.csv").open("a") as file:
        for user, item in orders.items():
            file.write(f"{user},{item},2018-04-16T08:00:00,order\n")
        file.write(f"{shop.user_ids[-1]},{shop.sku_ids[0]},2018-04-24T00:00:00,view\n")
    command = [sys.executable, "-m", "recmesh", "evaluate", "--answers", str(log), "--dataset", str(later), "--json"]
    rates = json.loads(subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True).stdout)
    assert (rates["clock"], rates["left_out"]) == ("data", {"without a user": 2, "user not in the data set": 1})
    (release,) = rates["releases"]
    assert (release["release"], release["answers"], release["users"]) == (answers[0].release, 17, 12)
    lists = [(orders.get(of.user_id), ids(answer)) for of, answer in zip(asked[:17], answers, strict=False)]
    assert release["followed"] == sum(order is not None for order, _ in lists) == 14
    chain = release["systems"]["chain"]
    for cutoff in (1, 10):
        hits = sum(order in shown[:cutoff] for order, shown in lists)
        assert chain[f"hit@{cutoff}"]["value"] == pytest.approx(hits / 17)
        assert chain[f"recall@{cutoff}"]["value"] == pytest.approx(hits / 14)
    assert chain["hit@1"]["value"] >= 6 / 17 and chain["hit@10"]["value"] >= 9 / 17
    items = sum(len(shown) for _, shown in lists)
    assert chain["acted"]["of"] == items
    assert chain["acted"]["value"] == pytest.approx(sum(order in shown for order, shown in lists) / items)
    assert set(release["systems"]) <= {"chain", *CHANNELS} and len(release["systems"]) > 2


def check(line: LoggedAnswer, request: ASRequest, answer: ASResponse, service: Service) -> None:
    """A line agrees with the request, with the answer that the client got, and with what um stores."""
    assert list(line.items) == ids(answer)
    assert (line.release, list(line.degraded), line.unknown_user) == (answer.release, [], answer.unknown_user)
    assert line.request.get("user_id", "") == request.user_id
    assert set(line.items) <= set(line.candidates.ids)
    assert line.ranked.ids[: len(line.items)] == line.items
    scores = [item.rank_score for item in answer.item_infos]
    assert line.ranked.scores[: len(scores)] == pytest.approx(scores, rel=1e-6)
    assert set(line.ranked.ids) == set(line.candidates.ids)
    assert line.channels and set(line.channels) <= set(CHANNELS)
    assert set(line.candidates.ids) <= frozenset().union(*line.proposals().values())
    if request.user_id not in ("", "-1", "unheard-of"):
        history = UM.call(service.target("um"), UserModelRequest(user_id=request.user_id)).history
        assert ParseDict(line.history, History()) == history
        assert line.now > max(history.times, default=0)


def switch(shop: Shop, service: Service, folder: Path) -> None:
    """Activate a copy of the active release that leaves its candidates in the order of recall."""
    copied_release(shop, folder, OTHER, without_a_ranker)
    shop.ingest("--release", OTHER, "--only", "milvus")
    shop.store.activate(OTHER, ())
    target = service.target("as")
    wait_until(lambda: AS.call(target, ASRequest()).release == OTHER, service, "the switch")


def without_a_ranker(release: Path) -> None:
    path = release / "features" / "spec.json"
    spec = FeatureSpec.load(path)
    spec.model_copy(update={"rankers": dict.fromkeys(spec.rankers, False)}).save(path)
