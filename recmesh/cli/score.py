"""`client.py score`: rank's score for every (user, item) pair of a file."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path

from rich.console import Console

from recmesh.cli.many import ask_all
from recmesh.cli.tables import ITEM, USER, read_pairs, read_profiles, replacing, write_failures
from recmesh.client import Mesh, User
from recmesh.errors import AnswerFailed
from recmesh.progress import Meter, Reporter


@dataclass(frozen=True, slots=True)
class ScoreOptions:
    """Which pairs to score; `users` is a file of profiles, whose fields win over stored ones.

    `affinity`: how much more the user is drawn to the item than its popularity says; else the score that orders lists.
    """

    pairs: Path
    out: Path
    users: Path | None = None
    affinity: bool = True
    new_only: bool = False
    concurrency: int = 16


@dataclass(frozen=True, slots=True)
class ScoreReport:
    """Totals of a run. `unknown_users` were scored without profile and history; `unscored` pairs have no score."""

    pairs: int
    users: int
    unknown_users: int
    degraded_users: int
    releases: tuple[str, ...]
    unscored: tuple[tuple[str, str, str], ...]
    unscored_list: Path | None


async def run_score(mesh: Mesh, options: ScoreOptions, console: Console) -> ScoreReport:
    """Score all pairs and write `out` (user_id, sku_id, score) in the order of the pairs, each pair once.

    A user's pairs go to rank together (2,000 a call), with the profile and history that um knows.
    Pairs without a score are listed with the reason in `<out>.failed.csv`.
    Raises DataError for a damaged file, Unavailable and its kin when the mesh stops answering.
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
        answer = await mesh.score(user, wanted[user_id], affinity=options.affinity, new_only=options.new_only)
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


async def _user(mesh: Mesh, user_id: str, profile: Mapping[str, str]) -> User:
    try:
        stored = await mesh.um(user_id)
    except AnswerFailed:
        return User(profile=profile)
    return replace(stored, profile={**stored.profile, **profile})
