"""A release becomes active under load: no answer fails, and each answer comes from one release."""

import os
import shutil
from collections.abc import Callable
from functools import partial
from pathlib import Path

import pytest

from recmesh.contract import OK
from recmesh.errors import ReleaseError
from recmesh.releases import loads, read_manifest, write_manifest
from tests.mesh.test_faults import load
from tests.processes import Service
from tests.servers import wait_until
from tests.shop import Shop

FAILURES = "recmesh_release_failures_total"
Spoil = Callable[[Path], object]


def _without_statistics(release: Path) -> None:
    (release / "features" / "statistics.npz").write_bytes(b"PK no zip archive")


def _with_another_ranker(release: Path) -> None:
    """ONNX Runtime loads it, and fails when it runs."""
    shutil.copy(release / "user_tower.onnx", release / "ranker.onnx")


SPOILED: dict[str, Spoil] = {
    "the models are no ONNX files": lambda release: [model.write_bytes(b"no") for model in release.glob("*.onnx")],
    "a zip archive is damaged": _without_statistics,
    "the ranker is another model": _with_another_ranker,
    "an array is cut off": lambda release: os.truncate(release / "item_vectors.npy", 200),
    "the catalogue is shorter than its arrays": lambda release: (release / "features" / "sku_ids.txt").write_text(
        "1\n"
    ),
}


def copied_release(shop: Shop, folder: Path, release_id: str, spoil: Spoil | None = None) -> None:
    """Put a copy of the active release into the store, with another id and possibly with spoiled files."""
    active = shop.store.active()
    assert active is not None
    copy = folder / release_id
    shutil.copytree(shop.store.fetch(active, folder / "fetched"), copy)
    if spoil:
        spoil(copy)
    manifest = read_manifest(copy).model_copy(update={"id": release_id})
    write_manifest(copy, manifest)
    shop.store.put(copy)


def test_a_switch_affects_no_answer(apart: dict[str, Service], trained_shop: Shop, tmp_path: Path) -> None:
    first = trained_shop.store.active()
    assert first is not None
    copied_release(trained_shop, tmp_path, "second-release")
    target = apart["as"].target("as")
    with load(target, trained_shop) as answers:
        trained_shop.ingest("--release", "second-release", "--only", "milvus")
        wait_until(lambda: answers[-1].release == "second-release", apart["as"], "the switch")
        trained_shop.store.activate(first)
        wait_until(lambda: answers[-1].release == first, apart["as"], "the switch back")

    assert {answer.release for answer in answers} == {first, "second-release"}
    assert not [answer for answer in answers if answer.degraded or answer.error.code != OK]


@pytest.mark.parametrize("what", SPOILED)
def test_the_activation_refuses_a_release_that_does_not_load(what: str, trained_shop: Shop, tmp_path: Path) -> None:
    store, spoiled = trained_shop.store, f"spoiled-{what.replace(' ', '-')}"
    first = store.active()
    copied_release(trained_shop, tmp_path, spoiled, SPOILED[what])
    with pytest.raises(ReleaseError, match=f"release {spoiled} refused"):
        store.activate(spoiled, (loads(lambda manifest: store.fetch(manifest.id, tmp_path / "trial")),))
    assert store.active() == first
    store.delete(spoiled)


def test_services_go_on_when_the_active_release_does_not_load(
    apart: dict[str, Service], trained_shop: Shop, tmp_path: Path
) -> None:
    """Errors of ONNX Runtime at the load of both, and at the first run of the ranker; then a good release follows."""
    store, target = trained_shop.store, apart["as"].target("as")
    first = store.active()
    assert first is not None
    failing = {"the models are no ONNX files": ("recall", "rank"), "the ranker is another model": ("rank",)}
    with load(target, trained_shop) as answers:
        for number, (what, services) in enumerate(failing.items()):
            copied_release(trained_shop, tmp_path, f"spoiled-{number}", SPOILED[what])
            before = {name: apart[name].metric(FAILURES) for name in services}
            store.activate(f"spoiled-{number}", ())
            for name, count in before.items():
                wait_until(partial(exceeds, apart[name], count), apart[name], "a failure of the release")
            store.activate(first)
        copied_release(trained_shop, tmp_path / "later", "after-spoiled")
        trained_shop.ingest("--release", "after-spoiled", "--only", "milvus")
        wait_until(lambda: answers[-1].release == "after-spoiled", apart["as"], "the next release")
        store.activate(first)
        wait_until(lambda: answers[-1].release == first, apart["as"], "the release of the other tests")
    assert not [answer for answer in answers if answer.error.code != OK or len(answer.item_infos) == 0]


def exceeds(service: Service, count: float) -> bool:
    return service.metric(FAILURES) > count
