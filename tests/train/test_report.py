"""The report of a real training: figures that hold together, and a page that shows them and needs nothing else."""

import json
import re
from pathlib import Path

import pytest
from typer.testing import CliRunner

from jobs.train.report.html import Html, table, tag
from jobs.train.report.page import page
from recmesh.cli.main import app
from recmesh.dataset import read
from recmesh.errors import ReleaseError
from recmesh.evaluation import Report, margin
from recmesh.releases import not_worse_than
from tests.train.conftest import Run, inside


@pytest.fixture(scope="module")
def report(release: Path) -> Report:
    return Report.parse((release / "metrics.json").read_bytes(), "metrics.json")


@pytest.fixture(scope="module")
def html(release: Path) -> str:
    return (release / "report.html").read_text(encoding="utf-8")


def test_the_manifest_says_the_same(trained: Run, report: Report) -> None:
    manifest = trained.store.manifest(trained.release)
    assert report.release == manifest.id
    assert set(report.segments) == set(manifest.metrics) == {"cold", "novel", "repeat"}
    for name, segment in report.segments.items():
        known = manifest.metrics[name]
        systems = {one.name: one for one in segment.systems}
        assert (segment.users, segment.window) == (known.users, known.window)
        for system, means in (("chain", known.chain), ("popularity", known.popularity)):
            assert {metric: figure.mean for metric, figure in systems[system].figures.items()} == means
        assert {metric: figure.error for metric, figure in systems["chain"].figures.items()} == known.errors
        for channel, means in known.channels.items():
            found = systems["merged" if channel == "merged" else f"channel {channel}"].figures
            assert {metric: figure.mean for metric, figure in found.items()} == means


def test_gains_are_differences_of_the_same_users(report: Report) -> None:
    for segment in report.segments.values():
        chain, *others = segment.systems
        for other in others:
            for metric, gain in other.gain.items():
                difference = chain.figures[metric].mean - other.figures[metric].mean
                assert gain.mean == pytest.approx(difference, abs=2e-5)
                assert gain.error <= chain.figures[metric].error + other.figures[metric].error + 2e-5


def test_every_segment_has_its_baselines_kinds_and_parts(report: Report) -> None:
    always = {"chain", "merged", "popularity", "channel popular", "channel two_tower"}
    known = always | {"item_cf", "ease", "channel neighbours"}
    expected = {"cold": always, "novel": known, "repeat": known | {"own_frequency", "channel bought_before"}}
    for name, segment in report.segments.items():
        assert {one.name for one in segment.systems} == expected[name]
        assert {one.name for one in segment.exposure} == {"chain", "popularity", "what users did"}
        assert {one.what for one in segment.decisions} >= {"order", "quota of the two-tower channel"}
        assert all(0 <= one.found_alone <= one.found <= 1 for one in segment.channels)
        for one in segment.exposure:
            assert 0 < one.coverage <= 1 and 0 <= one.gini < 1 and 0 <= one.head <= 1 and one.novelty > 0
    few, *_ = report.segments["repeat"].kinds
    assert few.name.startswith("few: 1 to ") and few.users >= 30


def test_calibrated_scores_are_near_what_was_observed(report: Report) -> None:
    for segment in report.segments.values():
        assert segment.calibration is not None
        bins = segment.calibration.bins
        assert segment.calibration.slope > 0
        assert [one.predicted for one in bins] == sorted(one.predicted for one in bins)
        wanted = sum(one.observed * one.candidates for one in bins)
        assert sum(one.predicted * one.candidates for one in bins) == pytest.approx(wanted, rel=0.35)
        assert all(one.low <= one.observed <= one.high for one in bins)


def test_examples_are_users_of_the_data_with_their_own_history(shop_data: Path, report: Report) -> None:
    data = read(shop_data)
    profiles = {row["user_id"]: row for row in data.users.iter_rows(named=True)}
    done: dict[str, set[str]] = {}
    for user, item in data.actions.select("user_id", "sku_id").cast(str).rows():
        done.setdefault(user, set()).add(item)
    for name, segment in report.segments.items():
        assert segment.examples
        for example in segment.examples:
            assert {k: v for k, v in profiles[example.user_id].items() if v is not None} == {
                "user_id": example.user_id,
                **example.profile,
            }
            assert {past.sku_id for past in example.history} <= done[example.user_id]
            assert bool(example.history) == (name != "cold")
            assert len(example.shown) == 10 and example.found <= example.wanted
            assert all(one.sku_id in done[example.user_id] for one in example.shown if one.wanted)
            assert [one.probability for one in example.shown] == sorted(
                (one.probability for one in example.shown), reverse=True
            )


def test_the_page_shows_the_figures_of_the_document(report: Report, html: str) -> None:
    assert html == page(report)
    for segment in report.segments.values():
        for system in segment.systems:
            for figure in system.figures.values():
                assert f"{figure.mean:.4f}<small>± {margin(figure.error):.4f}</small>" in html
        for example in segment.examples:
            assert f"User {example.user_id}: " in html
    assert f"{report.cost.peak_mib:,.0f} MiB" in html and report.facts["fingerprint of the data"] in html


def test_the_page_is_one_file_that_asks_for_nothing(html: str) -> None:
    assert "default-src 'none'" in html
    assert not re.search(r"https?:|//\w|@import|url\(|<script|<link|<img|<iframe|\bsrc=", html)
    opened = re.findall(r"<(\w+)", html)
    for element in ("table", "tr", "td", "div", "svg", "details", "dl"):
        assert opened.count(element) == html.count(f"</{element}>") > 0


def test_text_of_the_data_cannot_become_markup() -> None:
    shown = table(["<b>", "n"], [["<script>", Html("<i>1</i>")]])
    assert "&lt;script&gt;" in shown and "&lt;b&gt;" in shown and "<i>1</i>" in shown
    assert tag("p", 'a"&', css="x") == '<p class="x">a&quot;&amp;</p>'


def test_what_it_cost_is_told(report: Report) -> None:
    assert 0 < report.cost.report_seconds < report.cost.seconds
    assert report.cost.peak_mib > 100
    assert [one.used_for for one in report.windows].count("held out") == 2
    assert report.active is None


def test_the_command_prints_the_figures_and_writes_the_page(
    trained: Run, report: Report, html: str, tmp_path: Path
) -> None:
    target = tmp_path / "page.html"
    base = ["evaluate", trained.release, "--store", trained.store.url]
    shown = CliRunner().invoke(app, [*base, "--report", str(target)], catch_exceptions=False).output
    assert target.read_text(encoding="utf-8") == html
    recall = report.segments["novel"].systems[0].figures["recall@10"].mean
    assert f"{recall:.4f}".lstrip("0") in shown and "own_frequency" in shown
    document = CliRunner().invoke(app, [*base, "--json"], catch_exceptions=False).output
    assert Report.model_validate_json(document) == report


def test_the_active_release_is_compared_with_on_labels_it_has_not_seen(retrained: Run) -> None:
    store, older = retrained.store, retrained.store.active()
    report = Report.parse(store.read(retrained.release, "metrics.json"), "metrics.json")
    compared = store.manifest(retrained.release).compared
    assert report.active is not None and report.active.compared and compared is not None
    assert compared.release == older and set(compared.segments) == set(report.segments)
    for name, segment in report.segments.items():
        assert segment.compared is not None
        gain = {metric: figure.mean for metric, figure in segment.compared.gain.items()}
        assert compared.segments[name].mean == gain and compared.segments[name].users == segment.compared_users
        # The older one knows the shop, so it is far better than chance, and it has its own lists.
        theirs = segment.compared.figures["recall@100"].mean
        popular = next(one for one in segment.systems if one.name == "popularity").figures["recall@100"].mean
        assert theirs > popular
    store.activate(retrained.release, (not_worse_than(store.active_manifest),))


_PLANTED = """
import json
from types import SimpleNamespace as Some
import numpy as np
from jobs.train.models import wide
from jobs.train.report.ablation import ablation
from jobs.train.selection.held_out import Judged
from jobs.train.data.rows import Rows
names = ("popularity_all", "tower", "repeat_rate", "user_items")
rng = np.random.default_rng(4)
lists = rng.normal(size=(400, 60, 4)).astype(np.float32)
# The wanted item is the one that the tower and, less so, popularity speak for. The others say nothing.
best = (3 * lists[:, :, 1] + lists[:, :, 0]).argmax(1)
labels = np.zeros((400, 60), np.float32)
labels[np.arange(400), best] = 1
flat = Rows(lists[:200].reshape(-1, 4), np.zeros((12000, 1), np.int64), labels[:200].ravel(),
            np.arange(201) * 60, np.ones(200, np.float32), np.zeros(200, np.int32))
fitted = wide.Fit(flat, (True,) * 4)
fit = lambda used: fitted(used, wide.PENALTIES[0])
used = np.array([True, True, False, True])
found = [Some(dense=one, wanted=np.array([place]), merged=Some(items=np.arange(60)))
         for one, place in zip(lists[200:], best[200:])]
spec = Some(dense=names, item_fields=())
groups = ablation(spec, Judged([], fit(used), used, fit, []), Some(found=found))
print(json.dumps({one.name: [one.inputs, *one.gain["ndcg@10"].model_dump().values()] for one in groups}))
"""


def test_ablation_finds_what_was_planted() -> None:
    groups = inside(_PLANTED)
    # An input that was not in use, and one that is the same for a whole list in real data, are no groups.
    assert set(groups) == {"popularity", "two-tower score"}
    (tower_inputs, tower, tower_error), (_, popularity, popularity_error) = (
        groups["two-tower score"],
        groups["popularity"],
    )
    assert tower_inputs == 1
    assert tower > 0.5 > popularity > margin(popularity_error) > 0 < margin(tower_error) < tower


_CURVES = """
import json
import numpy as np
from jobs.train.report.ablation import group_of
from jobs.train.report.calibration import calibrate, probability, wilson
from jobs.train.report.exposure import gini
from jobs.train.data.rows import Rows, some
rng = np.random.default_rng(1)
scores = [rng.normal(size=200).astype(np.float32) for _ in range(400)]
labels = [rng.random(200) < probability(one, 1.5, -3.0) for one in scores]
curve = calibrate(scores, labels)
lists = Rows(np.arange(14.0)[:, None], np.arange(14)[:, None], np.arange(14.0), np.array([0, 3, 5, 9, 14]),
             np.arange(4.0), np.arange(4))
part = some(lists, 2)
print(json.dumps({
    "curve": [curve.slope, curve.intercept, curve.error, curve.users],
    "none": calibrate(scores[:2], [np.zeros(200, bool)] * 2),
    "wilson": [wilson(0, 10), wilson(5, 10), wilson(10, 10)],
    "gini": [gini(np.array([3, 3, 3])), gini(np.array([0, 0, 9])), gini(np.zeros(3)), gini(np.array([1, 3]))],
    "part": [part.dense[:, 0].tolist(), part.labels.tolist(), part.start.tolist(), part.weight.tolist()],
    "whole": some(lists, 4) is lists,
    "groups": [group_of(name, ["cate"]) for name in ("own_x_size", "cate_lift", "popularity_all", "user_items")],
}))
"""


def test_the_figures_behind_it_are_those_worked_out_by_hand() -> None:
    found = inside(_CURVES)
    slope, intercept, error, users = found["curve"]
    assert slope == pytest.approx(1.5, abs=0.1) and intercept == pytest.approx(-3.0, abs=0.1)
    assert error < 0.005 and users == 200
    assert found["none"] is None
    none, half, every = found["wilson"]
    assert none == pytest.approx([0, 0.2775], abs=1e-4) and every == pytest.approx([0.7225, 1], abs=1e-4)
    assert half == pytest.approx([0.2366, 0.7634], abs=1e-4)
    assert found["gini"] == pytest.approx([0, 2 / 3, 0, 0.25])
    first_and_last = [0.0, 1.0, 2.0, 9.0, 10.0, 11.0, 12.0, 13.0]
    assert found["part"] == [first_and_last, first_and_last, [0, 3, 8], [0.0, 3.0]]
    assert found["whole"]
    assert found["groups"] == ["the user's own items", "item fields of the history", "popularity", "other"]


def test_a_release_of_before_is_told_apart(tmp_path: Path) -> None:
    with pytest.raises(ReleaseError, match=r"no report of this version \(release: .*\); train again"):
        Report.parse(json.dumps({"novel": {}}).encode(), "metrics.json")
