"""`recmesh job run|logs|list`: the jobs of an installation in Kubernetes."""

import hashlib
import json
import sys
import time
from collections.abc import Iterable
from datetime import datetime, timezone
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.table import Table

from recmesh.cli.jobs_api import COMPONENT, POLL_INTERVAL_SECONDS, Jobs, outcome, reason
from recmesh.errors import RecmeshError, SettingsError

app = typer.Typer(no_args_is_help=True, help="Jobs in Kubernetes: run, follow, list.")

Kind = Annotated[str, typer.Argument(metavar="train|ingest|archive|import")]
Release = Annotated[str, typer.Option(envvar="RECMESH_RELEASE", help="Name of the Helm release.")]
Namespace = Annotated[str, typer.Option("--namespace", "-n", help="Namespace; default: that of the context.")]
Context = Annotated[str, typer.Option(help="Context of the kubeconfig; default: the current one.")]

_WIDE = 200
_MAX_NAME = 63  # of labels, which the names of Jobs become


@app.command()
def run(
    kind: Kind,
    watch: Annotated[bool, typer.Option("--watch", help="Print its log until it ends.")] = False,
    again: Annotated[bool, typer.Option("--again", help="Run it again if it has ended.")] = False,
    dataset: Annotated[str, typer.Option(help="A data set other than the installation's: a name or a URL.")] = "",
    release: Release = "recmesh",
    namespace: Namespace = "",
    context: Context = "",
) -> None:
    """Run a job with the values of the installation; a job that has run with the same values is not run again."""
    jobs, console = Jobs(release, namespace, context), Console(soft_wrap=True, highlight=False)
    manifest = jobs.manifest(kind)
    if dataset:
        manifest = with_source(manifest, dataset)
    name = manifest["metadata"]["name"]
    existing = jobs.get(name)
    if existing is not None and outcome(existing) != "running" and again:
        jobs.delete(name)
        existing = None
    if existing is None:
        jobs.create(manifest)
        console.print(f"{name}: created")
    else:
        console.print(f"{name}: {outcome(existing)} already" + ("; --again runs it again" if not again else ""))
    if watch:
        _follow(jobs, name, console)


@app.command()
def logs(
    kind: Annotated[
        str, typer.Argument(metavar="train|ingest|archive|import|NAME", help="A kind means its newest job.")
    ],
    follow: Annotated[bool, typer.Option("--follow", "-f", help="Continue until the job ends.")] = False,
    release: Release = "recmesh",
    namespace: Namespace = "",
    context: Context = "",
) -> None:
    """Print the logs of a job's pods and containers, one after the other."""
    jobs, console = Jobs(release, namespace, context), Console(soft_wrap=True, highlight=False)
    found = [job for job in jobs.all() if kind in (job.metadata.name, job.metadata.labels.get(COMPONENT))]
    if not found:
        raise SettingsError(f"{release} has no job {kind} in {jobs.namespace}; `recmesh job list` lists them")
    if follow:
        _follow(jobs, found[0].metadata.name, console)
    else:
        for pod in jobs.pods(found[0].metadata.name):
            _print_log(jobs, pod, console, follow=False)


@app.command("list")
def list_jobs(release: Release = "recmesh", namespace: Namespace = "", context: Context = "") -> None:
    """List the jobs of an installation, newest first."""
    jobs = Jobs(release, namespace, context)
    found = jobs.all()
    # A pipe has no width: a line that wraps is of no use there.
    console = Console() if sys.stdout.isatty() else Console(width=_WIDE)
    console.print(table(found) if found else f"{release} has no jobs in {jobs.namespace}")


def table(jobs: Iterable[Any]) -> Table:
    """Make the table of Jobs; the column "reason" is for those that nobody asked for."""
    shown = Table("job", "name", "state", "pods", "started (UTC)", "took", "reason")
    for job in jobs:
        status = job.status
        shown.add_row(
            job.metadata.labels.get(COMPONENT, ""),
            job.metadata.name,
            outcome(job),
            f"{status.succeeded or 0} of {job.spec.completions or 1}",
            f"{status.start_time:%Y-%m-%d %H:%M:%S}" if status.start_time else "",
            _took(job),
            reason(job),
        )
    return shown


def with_source(manifest: dict[str, Any], source: str) -> dict[str, Any]:
    """Make a Job use another data set.

    Args:
        manifest: The Job; it is changed.
        source: A name or a URL.

    Returns:
        The Job, under the name that follows from its new spec.

    Raises:
        SettingsError: The installation reads its data set from a volume, or the job reads none.
    """
    pod = manifest["spec"]["template"]["spec"]
    containers = (*pod.get("initContainers", ()), *pod["containers"])
    of_data = [container for container in containers if container["args"][0] == "jobs.data"]
    if not of_data:
        raise SettingsError(f"{manifest['metadata']['name']} reads no data set: leave out --dataset")
    fetching = [container for container in of_data if container["args"][1] != "--wait"]
    if not fetching:
        raise SettingsError("this installation reads its data set from a volume: recmesh job run import --dataset ...")
    for container in fetching:
        container["args"][1] = source
    for container in pod["containers"]:
        container["args"] = [_marked(argument, source) for argument in container["args"]]
    digest = _digest(json.dumps(manifest["spec"], sort_keys=True))
    stem = manifest["metadata"]["name"].rpartition("-")[0]
    manifest["metadata"]["name"] = f"{stem}-{digest}"[:_MAX_NAME]
    return manifest


def _marked(argument: str, source: str) -> str:
    """Ingestion finds the release of its data set by a mark, which therefore depends on the data set."""
    name, _, mark = argument.partition("=")
    return f"{name}={_digest(mark + source)}" if name == "--mark" else argument


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()[:8]


def _follow(jobs: Jobs, name: str, console: Console) -> None:
    """Print the logs of a Job's pods until it ends; raise RecmeshError if it fails."""
    printed: set[str] = set()
    while True:
        job = jobs.get(name)
        if job is None:
            raise RecmeshError(f"{name} was deleted")
        for pod in jobs.pods(name):
            if pod.metadata.name not in printed:
                printed.add(pod.metadata.name)
                _print_log(jobs, pod, console, follow=True)
                break
        else:
            if outcome(job) != "running":
                break
            time.sleep(POLL_INTERVAL_SECONDS)
    if outcome(job) == "failed":
        raise RecmeshError(f"{name} failed after {_took(job)}")
    console.print(f"{name}: complete after {_took(job)}")


def _print_log(jobs: Jobs, pod: Any, console: Console, follow: bool) -> None:
    for container in (*(pod.spec.init_containers or ()), *pod.spec.containers):
        if follow and not jobs.wait_for_container(pod.metadata.name, container.name):
            return
        for line in jobs.lines(pod.metadata.name, container.name, follow):
            console.print(f"{container.name}: {line}", markup=False)


def _took(job: Any) -> str:
    status = job.status
    if not status.start_time:
        return ""
    ends = [condition.last_transition_time for condition in status.conditions or () if condition.status == "True"]
    end = status.completion_time or max(ends, default=datetime.now(timezone.utc))
    return f"{(end - status.start_time).total_seconds():.0f} s"
