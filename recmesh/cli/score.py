"""`client.py score`: a score for every (user, item) pair of a file."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path

from rich.console import Console

from recmesh.cli.csv_files import ITEM, USER, read_pairs, read_profiles, replacing, write_failures
from recmesh.cli.many import PRINTED_FAILURES, ask_all, name_releases
from recmesh.client import Mesh, User
from recmesh.errors import AnswerFailed
from recmesh.progress import Meter, Reporter


@dataclass(frozen=True, slots=True)
class ScoreOptions:
    """A scoring run.

    Attributes:
        pairs: The file of pairs.
        out: The file of scores to write.
        users: A file of profiles, whose fields override the stored ones.
        debiased: Whether to write debiased scores, which say how much more the user is drawn to the item than the
            item's popularity suggests, instead of the scores that order lists.
        new_only: Whether the items are new to the users.
        concurrency: Requests in flight.
    """

    pairs: Path
    out: Path
    users: Path | None = None
    debiased: bool = True
    new_only: bool = False
    concurrency: int = 16


@dataclass(frozen=True, slots=True)
class ScoreReport:
    """Totals of a scoring run.

    Attributes:
        pairs: Number of distinct pairs.
        users: Number of distinct users.
        unknown_users: Users that were scored without profile and history.
        degraded_users: Users with a degraded answer.
        releases: Releases that answered.
        unscored: Pairs without a score: user_id, sku_id and the reason.
        unscored_list: The file that lists them; None if there are none.
    """

    pairs: int
    users: int
    unknown_users: int
    degraded_users: int
    releases: tuple[str, ...]
    unscored: tuple[tuple[str, str, str], ...]
    unscored_list: Path | None


async def run_score(mesh: Mesh, options: ScoreOptions, console: Console) -> ScoreReport:
    """Score each distinct pair and write the scores in the order of the pairs.

    A user's pairs go to rank together (2,000 in a call), with the profile and history that um knows. Pairs without a
    score are listed in `<out>.failed.csv`, each with a reason.

    Args:
        mesh: The mesh to query.
        options: The run.
        console: Shows the progress.

    Returns:
        The totals.

    Raises:
        DataError: A file is damaged.
        Unavailable, DeadlineExceeded, Overloaded: The mesh has stopped answering.
    """
    pairs = list(dict.fromkeys(read_pairs(options.pairs)))
    profiles = read_profiles(options.users) if options.users else {}
    wanted: dict[str, list[str]] = {}
    for user_id, sku_id in pairs:
        wanted.setdefault(user_id, []).append(sku_id)
    scores: dict[str, Mapping[str, float]] = {}
    unknown: set[str] = set()
    degraded: set[str] = set()
    releases: dict[str, None] = {}

    async def ask(user_id: str) -> None:
        user = await _user(mesh, user_id, profiles.get(user_id, {}))
        answer = await mesh.score(user, wanted[user_id], affinity=options.debiased, new_only=options.new_only)
        scores[user_id] = answer.by_sku_id
        releases[answer.release] = None
        if not user.user_id and not user.profile:
            unknown.add(user_id)
        if answer.degraded:
            degraded.add(user_id)

    meter = Meter(Reporter(console), "score: users", len(wanted))
    failures = await ask_all(list(wanted), ask, concurrency=options.concurrency, meter=meter)
    reasons = {failure.job: str(failure.error) for failure in failures}
    unscored = []
    with replacing(options.out, (USER, ITEM, "score")) as writer:
        for user_id, sku_id in pairs:
            score = scores.get(user_id, {}).get(sku_id)
            if score is None:
                unscored.append((user_id, sku_id, reasons.get(user_id, "rank does not know the item")))
            else:
                writer.writerow((user_id, sku_id, f"{score:.9g}"))
    return ScoreReport(
        pairs=len(pairs),
        users=len(wanted),
        unknown_users=len(unknown),
        degraded_users=len(degraded),
        releases=tuple(releases),
        unscored=tuple(unscored),
        unscored_list=write_failures(options.out, (USER, ITEM, "reason"), unscored),
    )


def print_report(report: ScoreReport, out: Path, console: Console) -> None:
    """Print the totals of a scoring run that wrote `out`."""
    say = Reporter(console).say
    scored = report.pairs - len(report.unscored)
    say(f"{out}: {scored} of {report.pairs} pairs of {report.users} users{name_releases(report.releases)}")
    if report.unknown_users:
        say(f"scored without profile and history: {report.unknown_users} users that um does not know")
    if report.degraded_users:
        say(f"degraded: answers for {report.degraded_users} users")
    if report.unscored:
        say(f"without a score: {len(report.unscored)} pairs, listed in {report.unscored_list}")
        for user_id, sku_id, reason in report.unscored[:PRINTED_FAILURES]:
            say(f"  {user_id}, {sku_id}: {reason}")


async def _user(mesh: Mesh, user_id: str, profile: Mapping[str, str]) -> User:
    try:
        stored = await mesh.um(user_id)
    except AnswerFailed:
        return User(profile=profile)
    return replace(stored, profile={**stored.profile, **profile})
