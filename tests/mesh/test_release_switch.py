"""A release becomes active under load: no answer fails, and each answer comes from one release."""

import shutil
from pathlib import Path

from recmesh.contract import OK
from recmesh.releases import read_manifest, write_manifest
from tests.mesh.test_faults import load
from tests.processes import Service
from tests.servers import wait_until
from tests.shop import Shop


def copied_release(shop: Shop, folder: Path, release_id: str) -> None:
    """Put a copy of the active release into the store, with another id."""
    active = shop.store.active()
    assert active is not None
    shutil.copytree(shop.store.fetch(active, folder / "fetched"), folder / "copy")
    manifest = read_manifest(folder / "copy").model_copy(update={"id": release_id})
    write_manifest(folder / "copy", manifest)
    shop.store.put(folder / "copy")


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
