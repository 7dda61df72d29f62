"""The report of a training: consistent figures, and a self-contained page that shows them."""

import json
import re
from pathlib import Path

import polars as pl
import pytest
from typer.testing import CliRunner

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


def test_the_manifest_has_the_same_figures(trained: Run, report: Report) -> None:
    manifest = trained.store.manifest(trained.release)
    assert report.release == manifest.id
    assert set(report.segments) == set(manifest.metrics) == {"cold", "novel", "repeat"}
    for name, segment in report.segments.items():
        known = manifest.metrics[name]
        systems = {system.name: system for system in segment.systems}
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


def test_every_segment_has_its_baselines_kinds_of_users_and_channels(report: Report) -> None:
    always = {"chain", "merged", "popularity", "channel popular", "channel two_tower", "channel new"}
    known = always | {"item_cf", "ease", "channel neighbours"}
    expected = {"cold": always, "novel": known, "repeat": known | {"own_frequency", "channel bought_before"}}
    for name, segment in report.segments.items():
        assert {system.name for system in segment.systems} == expected[name]
        assert {exposure.name for exposure in segment.exposure} == {"chain", "popularity", "users' actions"}
        assert {decision.what for decision in segment.decisions} >= {"order", "quota of the two-tower channel"}
        assert all(0 <= channel.found_alone <= channel.found <= 1 for channel in segment.channels)
        for exposure in segment.exposure:
            assert 0 < exposure.coverage <= 1 and 0 <= exposure.gini < 1
            assert 0 <= exposure.head <= 1 and exposure.novelty > 0
    few, *_ = report.segments["repeat"].kinds
    assert few.name.startswith("few: 1 to ") and few.users >= 30


def test_calibrated_scores_are_close_to_the_observed_shares(report: Report) -> None:
    for segment in report.segments.values():
        assert segment.calibration is not None
        bins = segment.calibration.bins
        assert segment.calibration.slope > 0
        assert [bin.predicted for bin in bins] == sorted(bin.predicted for bin in bins)
        wanted = sum(bin.observed * bin.candidates for bin in bins)
        assert sum(bin.predicted * bin.candidates for bin in bins) == pytest.approx(wanted, rel=0.35)
        assert all(bin.low <= bin.observed <= bin.high for bin in bins)


def test_examples_are_users_of_the_data_set_with_their_own_history(shop_data: Path, report: Report) -> None:
    data = read(shop_data)
    profiles = {row["user_id"]: row for row in data.users.iter_rows(named=True)}
    done: dict[str, set[str]] = {}
    for user, item in data.actions.select(pl.col("user_id", "sku_id").cast(pl.String)).rows():
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
            assert all(item.sku_id in done[example.user_id] for item in example.shown if item.wanted)
            probabilities = [item.probability for item in example.shown]
            assert probabilities == sorted(probabilities, reverse=True)


def test_the_page_shows_the_figures_of_the_document(report: Report, html: str) -> None:
    assert html == page(report)
    for segment in report.segments.values():
        for system in segment.systems:
            for figure in system.figures.values():
                assert f"{figure.mean:.4f}<small>± {margin(figure.error):.4f}</small>" in html
        for example in segment.examples:
            assert f"User {example.user_id}: " in html
    assert f"{report.cost.peak_mib:,.0f} MiB" in html and report.facts["fingerprint of the data"] in html


def test_the_page_loads_no_other_files(html: str) -> None:
    assert "default-src 'none'" in html
    assert not re.search(r"https?:|//\w|@import|url\(|<script|<link|<img|<iframe|\bsrc=", html)
    opened = re.findall(r"<(\w+)", html)
    for element in ("table", "tr", "td", "div", "svg", "details", "dl"):
        assert opened.count(element) == html.count(f"</{element}>") > 0


def test_text_of_the_data_set_cannot_become_markup(report: Report, html: str) -> None:
    """Every text of the report that may come from the data set is replaced by markup."""
    markup = '<script>"&'
    document = json.loads(report.model_dump_json())
    for segment in document["segments"].values():
        segment["window"] = markup
        for example in segment["examples"]:
            example |= {"user_id": markup, "profile": {markup: markup}}
            for row in (*example["history"], *example["shown"]):
                row |= {"sku_id": markup, "about": markup}
            for row in example["history"]:
                row["kind"] = markup
            for row in example["shown"]:
                row["reasons"] = {markup: 0.5}
    document["facts"]["fields"] = markup
    shown = page(Report.model_validate(document))
    assert "<script" not in shown
    assert shown.count("&lt;script&gt;&#34;&amp;") > 100
    assert shown.count("<div") == html.count("<div")


def test_the_report_states_the_cost_of_the_training(report: Report) -> None:
    assert 0 < report.cost.report_seconds < report.cost.seconds
    assert report.cost.peak_mib > 100
    assert [window.used_for for window in report.windows].count("held-out evaluation") == 2
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


def test_the_active_release_is_compared_on_labels_that_it_has_not_seen(retrained: Run) -> None:
    store, older = retrained.store, retrained.store.active()
    report = Report.parse(store.read(retrained.release, "metrics.json"), "metrics.json")
    compared = store.manifest(retrained.release).compared
    assert report.active is not None and report.active.compared and compared is not None
    assert compared.release == older and set(compared.segments) == set(report.segments)
    for name, segment in report.segments.items():
        assert segment.compared is not None
        gain = {metric: figure.mean for metric, figure in segment.compared.gain.items()}
        assert compared.segments[name].mean == gain and compared.segments[name].users == segment.compared_users
        # The older release knows the shop, so its lists are far better than chance.
        theirs = segment.compared.figures["recall@100"].mean
        systems = {system.name: system for system in segment.systems}
        popular = systems["popularity"].figures["recall@100"].mean
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
# The wanted item maximises a sum of the tower's score and, with a smaller weight, popularity.
best = (3 * lists[:, :, 1] + lists[:, :, 0]).argmax(1)
labels = np.zeros((400, 60), np.float32)
labels[np.arange(400), best] = 1
flat = Rows(lists[:200].reshape(-1, 4), np.zeros((12000, 1), np.int64), labels[:200].ravel(),
            np.arange(201) * 60, np.ones(200, np.float32), np.zeros(200, np.int32))
fitted = wide.Fit(flat, (True,) * 4)
fit = lambda used: fitted(used, wide.PARAMETERS.penalties[0])
used = np.array([True, True, False, True])
found = [Some(dense=dense, wanted=np.array([place]), merged=Some(items=np.arange(60)))
         for dense, place in zip(lists[200:], best[200:])]
spec = Some(dense=names, item_fields=())
groups = ablation(spec, Judged([], fit(used), used, fit, []), Some(found=found))
print(json.dumps({group.name: [group.inputs, *group.gain["ndcg@10"].model_dump().values()] for group in groups}))
"""


def test_ablation_finds_the_planted_gains() -> None:
    groups = inside(_PLANTED)
    # An unused input, and an input of the user that is equal for all items of a list, form no groups.
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
from jobs.train.data.rows import Rows, subset
rng = np.random.default_rng(1)
scores = [rng.normal(size=200).astype(np.float32) for _ in range(400)]
labels = [rng.random(200) < probability(of_user, 1.5, -3.0) for of_user in scores]
curve = calibrate(scores, labels)
lists = Rows(np.arange(14.0)[:, None], np.arange(14)[:, None], np.arange(14.0), np.array([0, 3, 5, 9, 14]),
             np.arange(4.0), np.arange(4))
part = subset(lists, 2)
print(json.dumps({
    "curve": [curve.slope, curve.intercept, curve.error, curve.users],
    "none": calibrate(scores[:2], [np.zeros(200, bool)] * 2),
    "wilson": [wilson(0, 10), wilson(5, 10), wilson(10, 10)],
    "gini": [gini(np.array([3, 3, 3])), gini(np.array([0, 0, 9])), gini(np.zeros(3)), gini(np.array([1, 3]))],
    "part": [part.dense[:, 0].tolist(), part.labels.tolist(), part.start.tolist(), part.weight.tolist()],
    "all": subset(lists, 4) is lists,
    "groups": [group_of(name, ["cate"]) for name in ("own_x_size", "cate_lift", "popularity_all", "user_items")],
}))
"""


def test_the_figures_equal_those_computed_by_hand() -> None:
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
    assert found["all"]
    assert found["groups"] == ["the user's own items", "item fields of the history", "popularity", "other"]


def test_a_report_of_an_older_version_is_refused(tmp_path: Path) -> None:
    refused = r"metrics\.json: not a report that this version can read \(release: Field required\); train again"
    with pytest.raises(ReleaseError, match=refused):
        Report.parse(json.dumps({"novel": {}}).encode(), "metrics.json")
