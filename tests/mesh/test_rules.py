"""Rules over real servers: applied by the command, followed by `as`, and named in explained answers."""

import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pytest

from recmesh.contract import OK
from recmesh.features import Encoder
from recmesh.pb.as_pb2 import ASRequest, ASResponse
from recmesh.pb.item_info_pb2 import ItemInfo
from recmesh.pb.rank_pb2 import RankRequest
from recmesh.releases import ModelStore
from tests.calls import AS, RANK
from tests.mesh.conftest import ids
from tests.mesh.test_faults import load
from tests.mesh.test_release_switch import copied_release
from tests.processes import Service, running
from tests.servers import ROOT, wait_until
from tests.shop import Shop, running_apart


@dataclass(frozen=True)
class Ruled:
    """A mesh over a copy of the shop's model store.

    Attributes:
        shop: The shop with that store.
        service: The process that answers for `as`.
        rank: The target of rank.
        others: The other processes of the mesh, by name.
    """

    shop: Shop
    service: Service
    rank: str
    others: dict[str, Service]

    def ask(self, user: int = 0, size: int = 20) -> ASResponse:
        """An explained answer for a user."""
        return AS.call(
            self.service.target("as"),
            ASRequest(user_id=self.shop.user_ids[user], size=size, explain=True),
        )

    def apply(self, *rules: str) -> int:
        """Apply rules by the command, which waits until `as` has them; returns the version."""
        metrics = f"127.0.0.1:{self.service.ports['metrics']}"
        text = "rules:" + ("".join(f"\n  - {rule}" for rule in rules) or " []")
        result = command(["apply", "-", "--wait", metrics], self.shop.store, text)
        assert (result.returncode, result.stderr) == (0, ""), result.stderr
        first, second = result.stdout.splitlines()
        assert second == f"{metrics}: applied"
        return int(first.removeprefix("version ").partition(":")[0])


def command(arguments: Sequence[str], store: ModelStore, text: str = "") -> "subprocess.CompletedProcess[str]":
    """Run `recmesh rules`."""
    return subprocess.run(
        [sys.executable, "-m", "recmesh", "rules", *arguments, "--store", store.url],
        cwd=ROOT,
        input=text,
        capture_output=True,
        text=True,
        check=False,
    )


@pytest.fixture(scope="module", params=["compact", "apart"])
def mesh(
    request: pytest.FixtureRequest, trained_shop: Shop, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Ruled]:
    """All services in one process, then each in its own, with a model store that no other test reads."""
    folder = tmp_path_factory.mktemp("ruled")
    shutil.copytree(trained_shop.folder / "store", folder / "store")
    (folder / "data").symlink_to(trained_shop.folder / "data")
    shop = replace(trained_shop, folder=folder)
    with ExitStack() as stack:
        if request.param == "compact":
            service = stack.enter_context(running("compact", shop.environment))
            yield Ruled(shop, service, service.target("rank"), {})
        else:
            services = stack.enter_context(running_apart(shop))
            yield Ruled(shop, services["as"], services["rank"].target("rank"), services)


@pytest.fixture
def ruled(mesh: Ruled) -> Iterator[Ruled]:
    """The mesh without rules."""
    yield mesh
    mesh.apply()


def reasons(answer: ASResponse) -> dict[str, list[str]]:
    """The names of the rules that moved items."""
    return {reason.sku_id: list(reason.rules) for reason in answer.reasons if reason.rules}


def cate(item: ItemInfo) -> str:
    return item.cate


def test_rules_apply_without_a_restart_and_are_named(ruled: Ruled) -> None:
    before = ruled.ask()
    pinned = next(sku_id for sku_id in ruled.shop.sku_ids if sku_id not in ids(before))
    first, second, third = ids(before)[:3]
    started = ruled.service.pid
    ruled.apply(
        f"{{name: 'the pin', kind: pin, items: ['{pinned}', '{third}'], position: 2}}",
        f"{{name: no, kind: exclude, when: 'sku_id={first}'}}",
    )
    after = ruled.ask()
    assert ids(after)[:3] == [second, pinned, third]
    assert first not in ids(after)
    assert len(after.item_infos) == 20
    assert reasons(after) == {pinned: ["the pin"], third: ["the pin"]}
    assert after.item_infos[1].cate, "cm has described the item"
    assert (list(after.degraded), after.error.code, ruled.service.pid) == ([], OK, started)
    ruled.apply()
    assert ids(ruled.ask()) == ids(before)


def test_exclusions_by_fields_leave_lists_full(ruled: Ruled) -> None:
    before = ruled.ask(size=100)
    shown = [item.cate for item in before.item_infos]
    most = max(set(shown), key=shown.count)
    ruled.apply(f"{{name: no, kind: exclude, when: cate={most}}}")
    after = ruled.ask(size=100)
    assert len(after.item_infos) == 100
    assert most not in map(cate, after.item_infos)
    kept = [item.sku_id for item in before.item_infos if item.cate != most]
    assert ids(after)[: len(kept)] == kept


def test_boost_and_at_most_read_the_fields_of_items(ruled: Ruled) -> None:
    before = ruled.ask(size=200)
    few = before.item_infos[150]
    ruled.apply(f"{{name: up, kind: boost, factor: 1000, when: brand={few.brand}}}")
    boosted = ruled.ask()
    expected = [item.sku_id for item in before.item_infos if item.brand == few.brand][:20]
    assert ids(boosted)[: len(expected)] == expected
    places = {sku_id: place for place, sku_id in enumerate(ids(before))}
    assert reasons(boosted) == {sku_id: ["up"] for place, sku_id in enumerate(expected) if places[sku_id] != place}
    ruled.apply("{name: mix, kind: at_most, field: cate, count: 1, first: 5}")
    mixed = ruled.ask()
    assert len(set(map(cate, mixed.item_infos[:5]))) == 5
    assert ids(mixed)[0] == ids(before)[0]


def test_diversity_follows_the_item_vectors_of_the_release(ruled: Ruled) -> None:
    before = ruled.ask(size=30)
    ruled.apply("{name: mmr, kind: diversity, strength: 0.9}")
    after = ruled.ask(size=30)
    assert list(after.degraded) == []
    assert ids(after)[0] == ids(before)[0]
    active = ruled.shop.store.active()
    assert active is not None
    encoder = Encoder.load(ruled.shop.folder / "store" / "releases" / active)

    def likeness(answer: ASResponse) -> float:
        vectors = encoder.item_vectors[encoder.catalogue.encode(ids(answer)[:10])] - encoder.item_vectors[:-1].mean(
            axis=0
        )
        unit = vectors / np.linalg.norm(vectors, axis=1, keepdims=True)
        return float((unit @ unit.T)[np.triu_indices(10, 1)].mean())

    assert likeness(after) < likeness(before) / 2
    assert {name for names in reasons(after).values() for name in names} == {"mmr"}


def test_rank_returns_vectors_of_the_items_in_their_order(ruled: Ruled) -> None:
    wanted = [*ruled.shop.sku_ids[:3], "unknown"]
    answer = RANK.call(ruled.rank, RankRequest(item_ids=wanted, with_vectors=True))
    active = ruled.shop.store.active()
    assert active is not None
    encoder = Encoder.load(ruled.shop.folder / "store" / "releases" / active)
    expected = encoder.item_vectors[encoder.catalogue.encode([pair.nid for pair in answer.score_pairs])]
    assert np.array_equal(np.frombuffer(answer.vectors, "<f4").reshape(4, -1), expected)
    assert RANK.call(ruled.rank, RankRequest(item_ids=wanted)).vectors == b""


def test_a_wrong_file_is_refused_with_its_line_and_changes_nothing(ruled: Ruled) -> None:
    ruled.apply("{name: mix, kind: at_most, field: cate, count: 1}")
    numbers = list(ruled.shop.store.rule_numbers())
    text = "rules:\n  - name: mix\n    kind: at_most\n    field: cate\n    cuont: 1\n"
    for name in ("apply", "check"):
        result = command([name, "-"], ruled.shop.store, text)
        assert (result.returncode, result.stdout) == (3, "")
        assert result.stderr == (
            'recmesh: stdin line 5, column 5: rule "mix": unknown key "cuont"; did you mean "count"?;'
            " allowed: name, scenario, from, until, users, kind, count, field, first; see also line 2\n"
        )
    assert list(ruled.shop.store.rule_numbers()) == numbers


def test_damaged_rules_in_the_store_change_no_answer(ruled: Ruled) -> None:
    first = ids(ruled.ask())[0]
    number = ruled.apply(f"{{name: no, kind: exclude, when: 'sku_id={first}'}}")
    expected = ids(ruled.ask())
    failures = ruled.service.metric("recmesh_rules_failures_total")
    (ruled.shop.folder / "store" / "rules" / str(number + 1)).write_bytes(b'{"number": 7')
    failed: Callable[[], bool] = lambda: ruled.service.metric("recmesh_rules_failures_total") > failures  # noqa: E731
    wait_until(failed, ruled.service, "a failure of the rules")
    answer = ruled.ask()
    assert (ids(answer), list(answer.degraded)) == (expected, [])
    assert ruled.service.metric("recmesh_rules_version") == number
    assert f"version {number + 1} of the rules is damaged" in ruled.service.log.read_text()
    assert ruled.apply() == number + 2


def test_rules_and_releases_change_under_load(ruled: Ruled, tmp_path: Path) -> None:
    """No answer fails or is degraded while both change."""
    store = ruled.shop.store
    first = store.active()
    assert first is not None
    copied_release(ruled.shop, tmp_path, "ruled-release")
    excluded = ids(ruled.ask())[0]
    with load(ruled.service.target("as"), ruled.shop) as answers:
        ruled.apply(
            f"{{name: no, kind: exclude, when: 'sku_id={excluded}'}}", "{name: m, kind: diversity, strength: 0.2}"
        )
        ruled.shop.ingest("--release", "ruled-release", "--only", "milvus")
        wait_until(lambda: answers[-1].release == "ruled-release", ruled.service, "the switch")
        assert excluded not in ids(ruled.ask())
        ruled.apply()
        store.activate(first)
        wait_until(lambda: answers[-1].release == first, ruled.service, "the switch back")
    assert {answer.release for answer in answers} == {first, "ruled-release"}
    assert not [answer for answer in answers if answer.degraded or answer.error.code != OK]


@pytest.mark.parametrize("mesh", ["apart"], indirect=True)
def test_without_cm_exclusions_by_id_still_apply(mesh: Ruled) -> None:
    """Last, since it stops a process."""
    first, second, *_ = ids(mesh.ask())
    mesh.apply(
        f"{{name: no, kind: exclude, when: 'sku_id={first}'}}", "{name: mix, kind: at_most, field: cate, count: 1}"
    )
    mesh.others["cm"].kill()
    answer = mesh.ask()
    assert ids(answer)[0] == second
    assert list(answer.degraded) == ["cm", "rules"]
