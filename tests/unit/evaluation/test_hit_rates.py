"""Rates of logged answers: a small example worked out by hand, from Python and from the command line."""

import json
from collections.abc import Mapping, Sequence
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

import pytest
from prometheus_client import REGISTRY
from typer.testing import CliRunner

from recmesh.answers import LoggedAnswer, Proposed, Scores
from recmesh.cli.main import app
from recmesh.dataset import DataSet, read
from recmesh.errors import DataError, ReleaseError, SettingsError
from recmesh.evaluation.hit_rates import ShownAnswer, hit_rates, wilson
from recmesh.releases import ModelStore
from recmesh.serving import shown_facts
from tests.unit.metric import value

SCHEMA = """\
user: {id: user_id, fields: {age: {kind: categorical}}}
action: {user: user_id, item: sku_id, time: time, type: type, weights: {view: 0, order: 1}}
"""
# Eve's view of b is not positive. The last day of the data is January 9th.
ACTIONS = """\
user_id,sku_id,time,type
ann,a,2024-01-01,order
bob,a,2024-01-01,order
ann,b,2024-01-03,order
ann,e,2024-01-04,order
eve,c,2024-01-04,view
eve,b,2024-01-05,order
bob,d,2024-01-09,order
"""
USERS = "user_id,age\nann,1\nbob,2\neve,3\nzed,4\n"
YEARS_LATER = "2026-11-29"


def at(day: str) -> int:
    return int(datetime.fromisoformat(day).replace(tzinfo=timezone.utc).timestamp()) * 1000


def answer(
    release: str, user: str, now: str, channels: Mapping[str, str], items: str, time: str = YEARS_LATER
) -> LoggedAnswer:
    """An answer with one-letter items, of three candidates more than it shows."""
    ids = (*items, "x", "y", "z")
    return LoggedAnswer(
        time=at(time),
        now=at(now),
        release=release,
        items=tuple(items),
        candidates=Scores(ids=ids, scores=(1.0,) * len(ids)),
        channels={
            name: Proposed(positions=tuple(ids.index(item) for item in proposed), scores=(1.0,) * len(proposed))
            for name, proposed in channels.items()
        },
        ranked=Scores(ids=ids, scores=(1.0,) * len(ids)),
        request={"user_id": user} if user else {},
        profile={},
        history={},
    )


ANSWERS = [
    answer("r1", "ann", "2024-01-02", {"popular": "abx", "two_tower": "bcy"}, "abc"),
    answer("r1", "bob", "2024-01-02", {"popular": "adx", "two_tower": "z"}, "ad"),
    answer("r1", "ann", "2024-01-04", {"popular": "a", "two_tower": "da"}, "da"),
    answer("r2", "eve", "2024-01-03", {"popular": "b"}, "b", time="2026-11-30"),
    answer("r2", "", "2024-01-03", {"popular": "b"}, "b"),
    answer("r2", "nobody", "2024-01-03", {"popular": "b"}, "b"),
    # The third day after January 7th is the last one of the data.
    answer("r1", "zed", "2024-01-08", {"popular": "b"}, "b"),
]


@pytest.fixture
def shop(tmp_path: Path) -> Path:
    folder = tmp_path / "shop"
    folder.mkdir()
    for name, content in {"schema.yaml": SCHEMA, "users.csv": USERS, "actions.csv": ACTIONS}.items():
        (folder / name).write_text(content)
    return folder


@pytest.fixture
def data(shop: Path) -> DataSet:
    return read(shop)


def shown(*answers: LoggedAnswer) -> list[ShownAnswer]:
    return [ShownAnswer.of(answer) for answer in answers]


def values(rates: Any) -> dict[str, tuple[float, int]]:
    return {metric: (rate.value, rate.of) for metric, rate in rates.items()}


def test_the_rates_are_those_worked_out_by_hand(data: DataSet) -> None:
    """Ann orders b and e in the three days after her first answer, and e in those after her second one."""
    rates = hit_rates(shown(*ANSWERS), data, (1, 2), days=3)
    assert (rates.clock, rates.days) == ("data", 3)
    assert rates.left_out == {"without a user": 1, "user not in the data set": 1, "horizon not over": 1}
    second, first = rates.releases
    assert (first.release, first.answers, first.users, first.followed) == ("r1", 3, 2, 2)
    assert (second.release, second.answers, second.users, second.followed) == ("r2", 1, 1, 1)
    assert values(first.systems["chain"]) == {
        "hit@1": (0, 3),
        "recall@1": (0, 2),
        "hit@2": (1 / 3, 3),
        "recall@2": (0.25, 2),  # b of {b, e}, then none of {e}
        "acted": (1 / 7, 7),
    }
    assert values(first.systems["popular"]) == {
        "hit@1": (0, 2),  # the first item of Ann's second list was proposed by two_tower alone
        "recall@1": (0, 2),
        "hit@2": (1 / 3, 3),
        "recall@2": (0.25, 2),
        "acted": (0.2, 5),
    }
    assert values(first.systems["two_tower"]) == {
        "hit@1": (0, 1),
        "recall@1": (0, 2),
        "hit@2": (0.5, 2),
        "recall@2": (0.25, 2),
        "acted": (0.25, 4),
    }
    every = dict.fromkeys(("hit@1", "recall@1", "hit@2", "recall@2", "acted"), (1, 1))
    assert {system: values(found) for system, found in second.systems.items()} == {"chain": every, "popular": every}


def test_intervals_are_wilsons_for_the_effective_number_of_users(data: DataSet) -> None:
    """hit@2 is 1 of 3 answers, two of them to one user: 3² / (2² + 1²) = 1.8 effective users."""
    _, first = hit_rates(shown(*ANSWERS), data, (1, 2), days=3).releases
    rate = first.systems["chain"]["hit@2"]
    assert [rate.low, rate.high] == pytest.approx([0.041607, 0.852037], abs=1e-5)
    # Figures that tables give: 0, 5 and 10 of 10.
    assert [*wilson(0, 10), *wilson(0.5, 10), *wilson(1, 10)] == pytest.approx(
        [0, 0.27753, 0.23659, 0.76341, 0.72247, 1], abs=1e-5
    )


def test_a_horizon_that_ends_with_the_data_is_over(data: DataSet) -> None:
    last = answer("r1", "zed", "2024-01-07", {"popular": "b"}, "b")
    (found,) = hit_rates(shown(last), data, days=3).releases
    assert (found.answers, found.followed, found.systems["chain"]["acted"].value) == (1, 0, 0)
    with pytest.raises(DataError, match=r"none of the 1 answers can be evaluated \(1 horizon not over\)"):
        hit_rates(shown(last), data, days=3.01)


def test_answers_of_a_running_shop_are_placed_by_the_wall_clock(data: DataSet) -> None:
    """The release had seen actions until January 2nd. Ann ordered b before the answer of January 4th."""
    late = shown(answer("r1", "ann", "2024-01-02", {}, "be", time="2024-01-04"))
    (by_wall,) = hit_rates(late, data, (1, 2), days=3).releases
    assert values(by_wall.systems["chain"])["hit@1"] == (0, 1)
    assert values(by_wall.systems["chain"])["acted"] == (0.5, 2)
    (by_data,) = hit_rates(late, data, (1, 2), days=3, clock="data").releases
    assert values(by_data.systems["chain"])["acted"] == (1, 2)


def test_an_answer_without_items_counts_as_one_without_a_hit(data: DataSet) -> None:
    (found,) = hit_rates(shown(answer("r1", "ann", "2024-01-02", {}, "")), data, days=3).releases
    assert values(found.systems["chain"]) == dict.fromkeys(("hit@1", "recall@1", "hit@10", "recall@10"), (0, 1))


def test_actions_without_times_follow_nothing(shop: Path) -> None:
    (shop / "schema.yaml").write_text(SCHEMA.replace("time: time, ", ""))
    with pytest.raises(DataError, match="its actions have no times"):
        hit_rates(shown(*ANSWERS), read(shop))


def log_of(folder: Path, answers: Sequence[LoggedAnswer]) -> Path:
    """A folder with a file for each release; the second one has two lines that are no answers."""
    folder.mkdir()
    for number, release in enumerate(("r1", "r2")):
        lines = [answer.model_dump_json() for answer in answers if answer.release == release]
        if number:
            lines[1:1] = ["{", '{"version": 2}']
        (folder / f"answers-2026112{number}T080000.000000-0a1b2c3d.jsonl").write_text("\n".join(lines) + "\n")
    return folder


def run(*arguments: object) -> tuple[str, str]:
    done = CliRunner().invoke(app, ["evaluate", *map(str, arguments)])
    if done.exception is not None:
        raise done.exception
    return done.stdout, done.stderr


def test_the_command_prints_the_rates_and_names_bad_lines(shop: Path, tmp_path: Path) -> None:
    folder = log_of(tmp_path / "answers", ANSWERS)
    table, warnings = run("--answers", folder, "--dataset", shop, "--days", 3, "--k", "1,2")
    assert "release r1: 3 answers to 2 users, 2 followed" in table
    chain = next(line for line in table[table.index("release r1") :].splitlines() if "chain" in line)
    assert chain.split() == ["chain", ".000", ".000", ".333", ".250", ".143"]
    assert "(.042-.852)" in table
    assert "actions within 3 days from what was the present in the data" in table
    assert "left out: 1 (without a user), 1 (user not in the data set), 1 (horizon not over)" in table
    assert table.index("release r2") < table.index("release r1")
    bad = [line for line in warnings.splitlines() if "answers-" in line]
    assert [line.partition(".jsonl:")[2][:2] for line in bad] == ["2:", "3:"]
    assert all("not a logged answer" in line for line in bad)


def test_published_rates_become_metrics(shop: Path, tmp_path: Path) -> None:
    strange = answer("r1", "ann", "2024-01-02", {"popular": "b", "from a request": "b"}, "b")
    folder, store = log_of(tmp_path / "answers", [*ANSWERS, strange]), ModelStore(str(tmp_path / "store"))
    assert store.shown_rates() is None
    chosen = ("--answers", folder, "--dataset", shop, "--days", 3, "--k", "1,2", "--json")
    run(*chosen)
    assert store.shown_rates() is None
    printed, _ = run(*chosen, "--publish", "--store", store.url)
    rates = store.shown_rates()
    assert rates is not None
    assert rates.model_dump(mode="json") == json.loads(printed)

    shown_facts.export(rates)
    # Ann orders the b of the fourth answer of r1 as well: 2 of 8 shown items.
    assert value("recmesh_shown_rate", release="r1", system="chain", metric="acted") == 0.25
    assert value("recmesh_shown_rate", release="r1", system="popular", metric="acted") == pytest.approx(2 / 6)
    assert value("recmesh_shown_answers", release="r1") == 4
    assert value("recmesh_shown_timestamp_seconds") == rates.evaluated
    families = [family for family in REGISTRY.collect() if family.name == "recmesh_shown_rate"]
    systems = {sample.labels["system"] for family in families for sample in family.samples}
    assert systems == {"chain", "popular", "two_tower"}

    shown_facts.export(rates.model_copy(update={"releases": rates.releases[:1]}))
    assert REGISTRY.get_sample_value("recmesh_shown_answers", {"release": "r1"}) is None

    (tmp_path / "store" / "shown_rates").write_text("{}")
    with pytest.raises(ReleaseError, match="shown_rates: damaged"):
        store.shown_rates()


@pytest.mark.parametrize(
    ("arguments", "kind", "fault"),
    [
        (["--answers", "x"], SettingsError, "one option is missing: --answers with --dataset"),
        (["--answers", "x", "--dataset", "x", "--days", "0"], SettingsError, "--days 0: use a positive number"),
        (["r1", "--answers", "x", "--dataset", "x"], SettingsError, "choose one of"),
        (["--answers", "none", "--dataset", "x"], DataError, "none: no file, and no folder with answers-"),
    ],
)
def test_wrong_options_are_an_error_in_one_line(arguments: list[str], kind: type[Exception], fault: str) -> None:
    with pytest.raises(kind, match=fault) as error:
        run(*arguments)
    assert "\n" not in str(error.value)


def test_a_log_without_answers_is_an_error(shop: Path, tmp_path: Path) -> None:
    (tmp_path / "answers-1.jsonl").write_text("no\n")
    with pytest.raises(DataError, match=r"answers-1\.jsonl: no logged answer"):
        run("--answers", tmp_path / "answers-1.jsonl", "--dataset", shop)
