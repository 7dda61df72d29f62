"""report.html: the document as one page that needs nothing else, and shows its figures and no others."""

from collections.abc import Iterable, Mapping
from pathlib import Path
from string import Template

from jobs.train.report.html import Html, join, table, tag, text
from jobs.train.report.plots import Scale, bar, dot, reliability
from recmesh.evaluation.metrics import margin, names
from recmesh.evaluation.report import (
    CHAIN,
    POPULARITY,
    Calibration,
    Example,
    Figure,
    Report,
    SegmentReport,
    System,
)

_TEMPLATE = Path(__file__).with_name("page.html")
_METRICS = names()
_HEADLINE = _METRICS[0]
_TITLES = {
    "cold": "New users, known by their profile alone",
    "novel": "Known users, only items new to them",
    "repeat": "Known users, repeats welcome",
}

_LABELS = {"item_cf": "item-CF", "ease": "EASE", "merged": "merged channels", "channel two_tower": "channel two-tower"}


def page(report: Report) -> str:
    """The whole page."""
    body = [
        tag("h1", f"Release {report.release}"),
        tag("p", "How good its lists are on actions that it was not trained on, and what was chosen on the way."),
        _contents(report),
        tag("div", *(_card(name, one) for name, one in report.segments.items()), css="cards"),
        _reading(),
        *(_segment(report, name, one) for name, one in report.segments.items()),
        _training(report),
    ]
    return Template(_TEMPLATE.read_text(encoding="utf-8")).substitute(
        title=text(f"Release {report.release}"), body=join(body)
    )


def _contents(report: Report) -> Html:
    links = {**{name: _TITLES.get(name, name) for name in report.segments}, "training": "Data, windows, cost"}
    return tag("nav", *(Html(f'<a href="#{text(name)}">{text(title)}</a>') for name, title in links.items()))


def _card(name: str, segment: SegmentReport) -> Html:
    by_name = {one.name: one for one in segment.systems}
    ours, popular = by_name[CHAIN].figures[_HEADLINE], by_name[POPULARITY].figures[_HEADLINE]
    more = f", {ours.mean / popular.mean - 1:+.0%}" if popular.mean else ""
    return tag(
        "div",
        tag("span", _TITLES.get(name, name), css="soft"),
        tag("b", f"{ours.mean:.4f}"),
        tag("small", f"{_HEADLINE} ± {margin(ours.error):.4f}, {segment.users:,} users"),
        Html("<br>"),
        tag("small", f"popularity {popular.mean:.4f}{more}"),
        css="card",
    )


def _reading() -> Html:
    return tag(
        "details",
        tag("summary", "How to read the figures"),
        tag(
            "p",
            "Every list ranks the whole catalogue; nothing is sampled. recall@k: of the items that a user really acted "
            "on in the window, the share that stands among the first k of the list. ndcg@10: the same for the first "
            "ten places, where a higher place counts more; 1 is a perfect list. All are means over users.",
        ),
        tag(
            "p",
            "± is half of the 95 % confidence interval (normal approximation over users). Gains are differences of "
            "the same users, so their intervals are narrower than those of the figures. They say how far another "
            "sample of users would differ, not another season.",
        ),
        tag(
            "p",
            "The models measured here were fitted before the held-out window. What is served was then fitted once "
            "more on everything. Choices were made on this window as well, so the figures of what was chosen are a "
            "little too good.",
        ),
    )


def _segment(report: Report, name: str, segment: SegmentReport) -> Html:
    return join(
        [
            Html(f'<h2 id="{text(name)}">{text(_TITLES.get(name, name))}</h2>'),
            tag("p", f"{segment.users:,} users of the held-out window “{segment.window}”.", css="soft"),
            tag("h3", "Against other ways to make the list"),
            _systems(segment.systems),
            _active(report, segment),
            tag("h3", "By kind of user"),
            _kinds(segment),
            tag("h3", "Channels"),
            _channels(segment),
            tag("h3", "What is shown"),
            _exposure(segment),
            tag("h3", "Scores as probabilities"),
            _calibration(segment.calibration),
            tag("h3", "What each group of inputs adds to the ranking"),
            _groups(segment),
            tag("h3", "What was chosen, and why"),
            _decisions(segment),
            tag("h3", "Real users of the held-out window"),
            *(_example(one) for one in segment.examples),
        ]
    )


def _systems(systems: Iterable[System]) -> Html:
    ordered = sorted(systems, key=lambda one: (one.name != CHAIN, -one.figures[_HEADLINE].mean))
    scale = Scale.over([one.figures[_HEADLINE] for one in ordered])
    rows = [
        [
            _named(one.name, one.about),
            dot(one.figures[_HEADLINE], scale, "chain" if one.name == CHAIN else ""),
            *(_figure(one.figures[metric]) for metric in _METRICS),
            _gain(one.gain[_HEADLINE]) if one.gain else "",
        ]
        for one in ordered
    ]
    return table(["", _HEADLINE, *_METRICS, f"chain's gain, {_HEADLINE}"], rows, left=2, marked=[0])


def _active(report: Report, segment: SegmentReport) -> Html:
    if report.active is None:
        return tag("p", "There was no active release to compare with.", css="soft")
    if segment.compared is None:
        why = report.active.reason
        if report.active.compared:
            why = f"its labels are unseen by it for only {segment.compared_users} of these users"
        return tag("p", f"Not compared with the active release {report.active.release}: {why}.", css="soft")
    gains = ", ".join(f"{name} {_signed(one)}" for name, one in segment.compared.gain.items())
    return tag(
        "p",
        f"Against the active release {report.active.release} on {segment.compared_users:,} of these users "
        f"({report.active.reason}): the chain's gain is {gains}.",
    )


def _kinds(segment: SegmentReport) -> Html:
    if not segment.kinds:
        return tag("p", "There are not enough users of different kinds here.", css="soft")
    scale = Scale.over([one.chain[_HEADLINE] for one in segment.kinds])
    rows = [
        [
            one.name,
            dot(one.chain[_HEADLINE], scale, "chain"),
            f"{one.users:,}",
            *(_figure(one.chain[metric]) for metric in _METRICS),
            _figure(one.popularity[_HEADLINE]),
        ]
        for one in segment.kinds
    ]
    return table(["", _HEADLINE, "users", *_METRICS, f"popularity, {_HEADLINE}"], rows, left=2)


def _channels(segment: SegmentReport) -> Html:
    rows = [
        [
            one.name.replace("_", " "),
            join([bar(one.found), f"{one.found:.1%}"]),
            f"{one.found_alone:.1%}",
            f"{one.weight:g}",
            str(one.depth),
        ]
        for one in segment.channels
    ]
    note = "Of the items that users acted on later: the share that a channel finds, and the share that no other finds."
    return join([tag("p", note, css="soft"), table(["", "found", "found alone", "weight", "depth"], rows)])


def _exposure(segment: SegmentReport) -> Html:
    rows = [
        [one.name, f"{one.coverage:.1%}", f"{one.novelty:.2f} bits", f"{one.gini:.3f}", f"{one.head:.1%}"]
        for one in segment.exposure
    ]
    note = (
        "The first ten places over all these users. Coverage: share of the catalogue that anyone sees. Novelty: mean "
        "self-information, -log2 of the share of users who acted on the item. Gini: 0, every item is shown equally "
        "often; 1, one takes all. Head: share of the places that the most popular 1 % of the items take."
    )
    return join([tag("p", note, css="soft"), table(["", "coverage", "novelty", "Gini", "head"], rows)])


def _calibration(calibration: Calibration | None) -> Html:
    if calibration is None:
        return tag("p", "Too few candidates were acted on to fit a curve.", css="soft")
    note = (
        "A score s stands for a probability of "
        f"1 / (1 + exp(-({calibration.slope:.4g} s {calibration.intercept:+.4g}))) "
        "that the user acts on the candidate within the window. The curve was fitted on one half of the users; shown "
        f"are the {calibration.users:,} of the other half. Mean distance of predicted and observed: "
        f"{calibration.error:.3%}."
    )
    rows = [
        [f"{one.candidates:,}", f"{one.predicted:.2%}", f"{one.observed:.2%}", f"{one.low:.2%} to {one.high:.2%}"]
        for one in calibration.bins
    ]
    figures = table(["candidates", "predicted", "observed", "95 % interval"], rows, left=0)
    return join(
        [
            tag("p", note, css="soft"),
            reliability(calibration.bins),
            tag("details", tag("summary", "The same as a table"), figures),
        ]
    )


def _groups(segment: SegmentReport) -> Html:
    if not segment.groups:
        return tag("p", "The ranker's wide part uses no input here.", css="soft")
    ordered = sorted(segment.groups, key=lambda one: -one.gain["ndcg@10"].mean)
    scale = Scale.over([one.gain["ndcg@10"] for one in ordered])
    rows = [
        [
            one.name,
            dot(one.gain["ndcg@10"], scale, "chain"),
            str(one.inputs),
            *(_gain(one.gain[metric]) for metric in _METRICS),
        ]
        for one in ordered
    ]
    note = (
        "The wide part of the ranker, fitted once with all inputs and once without the group, to the same part of the "
        "training rows; the candidates stay. Groups can stand in for each other, so gains do not add up."
    )
    return join([tag("p", note, css="soft"), table(["", "gain, ndcg@10", "inputs", *_METRICS], rows, left=2)])


def _decisions(segment: SegmentReport) -> Html:
    rows = [
        [
            _named(one.what, one.rule),
            one.chosen,
            join(tag("div", f"{name}: {value:.4f}") for name, value in one.tried.items()),
        ]
        for one in segment.decisions
    ]
    return table(["", "chosen", "held-out figure of each option"], rows, left=3)


def _example(example: Example) -> Html:
    profile = ", ".join(f"{name} {value}" for name, value in example.profile.items()) or "nothing known"
    parts = [
        tag("summary", f"User {example.user_id}: {example.title}"),
        tag("p", f"Profile: {profile}. Later acted on {example.wanted} items; the list of 100 has {example.found}."),
        tag("h4", f"The newest of {example.actions:,} actions" if example.history else "No history"),
    ]
    if example.history:
        past = [[_named(one.sku_id, one.about), one.kind, one.when] for one in example.history]
        parts.append(table(["item", "action", "when"], past, left=3, css="items"))
    shown = [
        [
            _named(f"{place}. {one.sku_id}{' ✓' if one.wanted else ''}", one.about),
            f"{one.probability:.1%}",
            ", ".join(one.channels).replace("_", " "),
            ", ".join(f"{name} {value:+.2f}" for name, value in one.reasons.items()),
        ]
        for place, one in enumerate(example.shown, 1)
    ]
    hits = [row for row, one in enumerate(example.shown) if one.wanted]
    head = ["item", "probability", "channels", "strongest reasons (parts of the wide score)"]
    parts += [
        tag("h4", "The first ten places (✓: acted on later)"),
        table(head, shown, left=4, marked=hits, css="items"),
    ]
    return tag("details", *parts)


def _training(report: Report) -> Html:
    cost = {
        "training took": f"{report.cost.seconds:.0f} s, {report.cost.report_seconds:.1f} s of it for this report",
        "peak memory": f"{report.cost.peak_mib:,.0f} MiB",
    }
    rows = [[one.name, one.known_until, one.labels, f"{one.users:,}", one.used_for] for one in report.windows]
    return join(
        [
            Html('<h2 id="training">Data, windows, cost</h2>'),
            _list({**report.facts, **cost}),
            tag("h3", "Windows"),
            tag("p", "What came before a window is known to it; what lies in it are the labels.", css="soft"),
            table(["window", "knows until", "labels", "users with labels", "used for"], rows, left=3),
        ]
    )


def _list(facts: Mapping[str, str]) -> Html:
    return tag("dl", *(join([tag("dt", name), tag("dd", value)]) for name, value in facts.items()))


def _named(name: str, about: str) -> Html:
    return join([_LABELS.get(name, name.replace("_", " ")), tag("small", about)])


def _figure(figure: Figure) -> Html:
    return join([f"{figure.mean:.4f}", tag("small", f"± {margin(figure.error):.4f}")])


def _gain(figure: Figure) -> Html:
    half = margin(figure.error)
    css = "good" if figure.mean > half else "bad" if figure.mean < -half else "same"
    return join([tag("span", f"{figure.mean:+.4f}", css=css), tag("small", f"± {half:.4f}")])


def _signed(figure: Figure) -> str:
    return f"{figure.mean:+.4f} ± {margin(figure.error):.4f}"
