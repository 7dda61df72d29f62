"""The log of answers: what it keeps of an answer, which answers, and that neither speed nor space has no limit."""

import errno
import os
import queue
import stat
import threading
import time
from io import FileIO
from pathlib import Path
from typing import Any

import pytest
from google.protobuf.json_format import MessageToDict, ParseDict
from structlog.testing import capture_logs

from recmesh.answers import LoggedAnswer, answer_files, read_answers
from recmesh.chain import answer_log
from recmesh.chain.answer_log import AnswerFiles, AnswerLog, open_answer_log
from recmesh.chain.popular import PopularList
from recmesh.chain.servicer import AsServicer
from recmesh.chain.settings import ChainSettings
from recmesh.contract import REPLAY
from recmesh.pb.as_pb2 import ASRequest, ASResponse
from recmesh.pb.user_info_pb2 import History, UserInfo
from recmesh.serving import deadline
from recmesh.serving.stages import CandidateList, CandidateQuery, RequestUser
from tests.component.services.test_chain import CANDIDATES, CATALOGUE, Stages, chain_over, known_users
from tests.unit.metric import added, eventually

MIB = 1 << 20


class _Context:
    """The part of gRPC's context that the servicer reads."""

    def __init__(self, *metadata: tuple[str, str]) -> None:
        self._metadata = metadata

    def invocation_metadata(self) -> tuple[tuple[str, str], ...]:
        return self._metadata


def logged(folder: Path) -> list[LoggedAnswer]:
    faults: list[str] = []
    found = [answer for _, answer in read_answers(answer_files(folder), faults.append)]
    assert not faults
    return found


def settings(folder: Path, share: float = 1.0, mib: int = 4) -> ChainSettings:
    return ChainSettings(candidates=CANDIDATES, answer_sample=share, answer_log=folder, answer_log_mib=mib)


async def ask(servicer: AsServicer, request: ASRequest, *metadata: tuple[str, str]) -> ASResponse:
    deadline.start(5.0)
    context: Any = _Context(*metadata)
    answer = await servicer.as_call(request, context)
    return ASResponse.FromString(answer.SerializeToString())


async def served(stages: Stages, log: AnswerLog | None) -> AsServicer:
    popular = PopularList(stages)
    await popular._refresh()
    stages.recalled.clear()
    stages.ranked.clear()
    return AsServicer(chain_over(stages, popular), log)


class _Dated(Stages):
    """Stages whose release has seen actions until a known time."""

    async def recall(self, query: CandidateQuery, timeout: float) -> CandidateList:
        found = await super().recall(query, timeout)
        return CandidateList(found.ids, found.scores, found.release, channels=found.channels, now=1_700_000_000_001)


async def test_a_logged_answer_holds_the_request_the_inputs_and_all_scores(tmp_path: Path) -> None:
    history = History(sku_ids=["i007"], times=[1_600_000_000_000], types=[0], values=[1.5], type_names=["order"])
    user = RequestUser(UserInfo(user_id="7", age="3"), history)
    stages = _Dated(users={"7": user}, failing={"cm"})
    began = time.time_ns() // 1_000_000
    request = ASRequest(log_id=99, user_id="7", user_info=UserInfo(city="12"), size=3, exclude_ids=["i001"])
    async with open_answer_log(settings(tmp_path)) as log:
        answer = await ask(await served(stages, log), request)
    (line,) = logged(tmp_path)
    ids = [sku_id for sku_id in CATALOGUE if sku_id != "i001"][:CANDIDATES]
    assert began <= line.time <= time.time_ns() // 1_000_000
    assert (line.now, line.release, line.degraded, line.unknown_user) == (1_700_000_000_001, "r1", ("cm",), False)
    assert line.items == tuple(item.sku_id for item in answer.item_infos) == tuple(sorted(ids)[-1:-4:-1])
    assert line.candidates.ids == tuple(ids)
    assert line.candidates.scores == tuple(float(f"{1 / (1 + n):.9g}") for n in range(CANDIDATES))
    assert line.channels["two_tower"].positions == tuple(range(CANDIDATES))
    assert line.ranked.ids == tuple(sorted(ids, reverse=True)), "rank is asked for all scores"
    assert line.ranked.scores == tuple(float(sku_id[1:]) for sku_id in line.ranked.ids)
    assert line.request == {
        **{"log_id": "99", "user_id": "7", "user_info": {"city": "12"}, "size": 3, "exclude_ids": ["i001"]}
    }
    assert line.profile == {"user_id": "7", "age": "3", "city": "12"}
    assert line.history == {
        **{"sku_ids": ["i007"], "times": ["1600000000000"], "types": [0], "values": [1.5], "type_names": ["order"]}
    }
    assert not answer.reasons, "the client did not ask for them"


async def test_without_a_log_the_stages_get_the_questions_of_before(tmp_path: Path) -> None:
    """The first answer of a chain is explained for the metrics; the second one shows what costs nothing."""
    stages = Stages(users=known_users())
    async with open_answer_log(ChainSettings(candidates=CANDIDATES, answer_log=tmp_path / "answers")) as log:
        assert log is None
        servicer = await served(stages, log)
        before = threading.active_count()
        for _ in range(2):
            await ask(servicer, ASRequest(user_id="7", size=3))
        assert threading.active_count() == before
    assert [query.explain for query in stages.recalled] == [True, False]
    assert [query.size for query in stages.ranked] == [13, 13]
    assert not (tmp_path / "answers").exists()


async def test_only_the_drawn_share_of_the_answers_is_explained_and_logged(tmp_path: Path) -> None:
    draws = iter([0.25, 0.1, 0.3, 0.24])
    log = AnswerLog(AnswerFiles(tmp_path, MIB), 0.25, lambda: next(draws))
    stages = Stages()
    servicer = await served(stages, log)
    for number in range(4):
        await ask(servicer, ASRequest(log_id=number + 1, user_info=UserInfo(age="3"), size=3))
    log.close()
    assert [line.request["log_id"] for line in logged(tmp_path)] == ["2", "4"]
    assert [query.explain for query in stages.recalled] == [True, True, False, True]


async def test_answers_to_replayed_requests_are_not_logged(tmp_path: Path) -> None:
    async with open_answer_log(settings(tmp_path)) as log:
        servicer = await served(Stages(), log)
        await ask(servicer, ASRequest(log_id=1), ("other", "yes"), REPLAY)
        await ask(servicer, ASRequest(log_id=2), ("other", "yes"))
    assert [line.request["log_id"] for line in logged(tmp_path)] == ["2"]


async def test_only_the_owner_reads_the_files(tmp_path: Path) -> None:
    folder = tmp_path / "home" / "answers"
    before = os.umask(0)
    try:
        async with open_answer_log(
            ChainSettings(candidates=CANDIDATES, answer_sample=1.0, home=tmp_path / "home")
        ) as log:
            await ask(await served(Stages(), log), ASRequest())
    finally:
        os.umask(before)
    (file,) = folder.iterdir()
    assert (stat.S_IMODE(folder.stat().st_mode), stat.S_IMODE(file.stat().st_mode)) == (0o700, 0o600)


def test_histories_have_the_json_form_of_protobuf() -> None:
    """Of every field: none can be forgotten."""
    history = History(
        sku_ids=["a", "b"],
        times=[1_700_000_000_001, -5],
        types=[1, 0],
        values=[0.1, 2.5],
        type_names=["view", "order"],
        older_sku_ids=["c"],
    )
    assert {field.name for field, _ in history.ListFields()} == set(History.DESCRIPTOR.fields_by_name)
    columns = answer_log._columns(history)
    assert ParseDict(columns, History()) == history
    assert columns.keys() == MessageToDict(history, preserving_proto_field_name=True).keys()
    assert columns["times"] == ["1700000000001", "-5"]
    assert answer_log._columns(History()) == {}


def names(folder: Path) -> list[str]:
    return [path.read_bytes()[:4].decode() for path in sorted(folder.iterdir())]


def test_the_oldest_files_go_when_the_folder_is_full(tmp_path: Path) -> None:
    """16,000 bytes for 16 files: each file holds ten lines of 100 bytes, and the last 160 lines stay at most."""
    files = AnswerFiles(tmp_path, 16_000)
    for number in range(500):
        files.append(f"{number:04}".encode() + b"x" * 95 + b"\n")
        assert sum(path.stat().st_size for path in tmp_path.iterdir()) <= 16_000
    files.close()
    assert names(tmp_path) == [f"{number:04}" for number in range(340, 500, 10)]
    later = AnswerFiles(tmp_path, 16_000)
    later.append(b"next" + b"x" * 95 + b"\n")
    later.close()
    assert names(tmp_path) == [*(f"{number:04}" for number in range(350, 500, 10)), "next"]


def test_an_answer_larger_than_a_file_has_one_of_its_own(tmp_path: Path) -> None:
    files = AnswerFiles(tmp_path, 16_000)
    for line in (b"a\n", b"b" * 9_999 + b"\n", b"c\n", b"d" * 9_999 + b"\n"):
        files.append(line)
    assert [path.stat().st_size for path in sorted(tmp_path.iterdir())] == [2, 10_000]
    with pytest.raises(OSError, match="16,001 bytes exceeds RECMESH_ANSWER_LOG_MIB"):
        files.append(b"e" * 16_000 + b"\n")
    files.append(b"f\n")
    files.close()
    assert [path.read_bytes()[:1] for path in sorted(tmp_path.iterdir())] == [b"c", b"d", b"f"]


def test_a_file_that_an_operator_deletes_is_replaced(tmp_path: Path) -> None:
    files = AnswerFiles(tmp_path, MIB)
    files.append(b"a\n")
    next(tmp_path.iterdir()).unlink()
    files.append(b"b\n")
    files.close()
    assert [path.read_bytes() for path in tmp_path.iterdir()] == [b"b\n"]


def test_half_a_line_on_a_full_disk_is_taken_back(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    class Full(FileIO):
        """A file on a disk with room for five bytes."""

        def write(self, line: Any, /) -> int:
            return super().write(line[: 5 - self.tell()])

    files = AnswerFiles(tmp_path, MIB)
    monkeypatch.setattr(answer_log, "FileIO", Full)
    files.append(b"abc\n")
    with pytest.raises(OSError, match="No space left") as error:
        files.append(b"defg\n")
    assert error.value.errno == errno.ENOSPC
    monkeypatch.undo()
    files.append(b"hi\n")
    files.close()
    assert sorted(path.read_bytes() for path in tmp_path.iterdir()) == [b"abc\n", b"hi\n"]


async def test_a_folder_that_cannot_be_made_costs_records_and_no_answer(tmp_path: Path) -> None:
    """It works again without a restart."""
    (tmp_path / "file").write_text("no folder")
    folder = tmp_path / "file" / "answers"
    lost, written = (
        added("recmesh_unlogged_answers_total", reason="NotADirectoryError"),
        added("recmesh_logged_answers_total"),
    )
    with capture_logs() as lines:
        async with open_answer_log(settings(folder)) as log:
            servicer = await served(Stages(), log)
            for _ in range(3):
                assert len((await ask(servicer, ASRequest(size=3))).item_infos) == 3
            await eventually(lambda: lost() == 3)
            (tmp_path / "file").unlink()
            await ask(servicer, ASRequest(size=3))
    assert (lost(), written(), len(logged(folder))) == (3, 1, 1)
    ((event, level, reason),) = {(line["event"], line["log_level"], line["reason"]) for line in lines}
    assert (event, level) == ("answers not logged", "warning")
    assert str(folder) in reason


async def test_a_disk_that_hangs_costs_records_and_no_answer(tmp_path: Path) -> None:
    """One answer is being written, 128 wait, and the others are lost and counted."""
    release, writing = threading.Event(), threading.Event()

    class Hanging(AnswerFiles):
        def append(self, line: bytes) -> None:
            writing.set()
            release.wait()
            super().append(line)

    lost, written = added("recmesh_unlogged_answers_total", reason="queue"), added("recmesh_logged_answers_total")
    log = AnswerLog(Hanging(tmp_path, 64 * MIB), 1.0)
    servicer = await served(Stages(), log)
    await ask(servicer, ASRequest(size=1))
    await eventually(writing.is_set)
    for _ in range(140):
        assert len((await ask(servicer, ASRequest(size=1))).item_infos) == 1
    assert lost() == 12
    release.set()
    log.close()
    assert (lost(), written(), len(logged(tmp_path))) == (12, 129, 129)


def test_a_process_ends_although_the_disk_hangs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    release, writing = threading.Event(), threading.Event()

    class Hanging(AnswerFiles):
        def append(self, line: bytes) -> None:
            writing.set()
            release.wait()

    monkeypatch.setattr(answer_log, "_CLOSE_SECONDS", 0.05)
    monkeypatch.setattr(answer_log, "_line", lambda entry: b"\n")
    log = AnswerLog(Hanging(tmp_path, MIB), 1.0)
    entry: Any = "entry"
    log.add(entry, entry)
    assert writing.wait(60)
    log.close()
    assert log._thread.is_alive() and log._thread.daemon
    while True:  # the queue is full as well
        try:
            log._waiting.put_nowait(entry)
        except queue.Full:
            break
    log.close()
    release.set()
