"""`python -m tests.mutants`: change the code at random places, and report which changes no test notices.

Each mutant is one change of one module, made by an operator of cosmic-ray or of this file, in a copy of the checkout.
The tests nearest to the module run first, then those of a wider circle (`CIRCLES`). A mutant that breaks the collection
of tests, such as a module that no longer imports, says nothing about the tests, nor does one that changes nothing: such
mutants are invalid, neither caught nor survived.

A draw chooses modules in proportion to their positions, and then one operator for each position, so that an expression
with eleven possible replacements counts no more than one with two. It leaves out docstrings, annotations, calls of
loggers and the decorators of classes.

mutmut 3.8 makes mutants of functions only, and none of decorated ones, such as properties and context managers; limits
and pauses are constants of modules here. cosmic-ray runs one command for all modules, so it makes the changes only.
"""

import argparse
import ast
import difflib
import importlib
import os
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from itertools import chain
from pathlib import Path
from typing import Any, NoReturn

import parso
import pytest
from cosmic_ray import plugins
from cosmic_ray.ast import ast_nodes, get_ast
from cosmic_ray.mutating import mutate_code
from cosmic_ray.operators.operator import Operator

ROOT = Path(__file__).resolve().parent.parent

MODULES = (
    "jobs/train/data/{activity,prepare,windows}.py",
    "recmesh/chain/*.py",
    "recmesh/channels.py",
    "recmesh/client/{_*,sync,wire}.py",
    "recmesh/evaluation/{metrics,split}.py",
    "recmesh/features/*.py",
    "recmesh/releases/*.py",
    "recmesh/retrieval/*.py",
    "recmesh/serving/*.py",
    "recmesh/stores/{ann,keys,redis,redis_connections,wire}.py",
    "services/{as,cm,recall,um}/*.py",
    "services/rank/*.py",
)
"""The modules that a draw chooses from, unless MODULES names others: those that serve requests, and those of training
that decide what it sees. Each has tests that take seconds."""

CIRCLES: dict[str, tuple[str, ...]] = {
    "jobs/ingest/": ("tests/unit/ingest", "tests/component/ingest"),
    "jobs/train/": ("tests/unit/train",),
    "recmesh/chain/": ("tests/unit/chain tests/component/services/test_chain.py",),
    "recmesh/channels.py": (
        "tests/unit/serving/test_channels.py tests/unit/client/test_attempts.py",
        "tests/component/client/test_channels.py tests/component/services/test_channels.py",
    ),
    "recmesh/client/": ("tests/unit/client", "tests/component/client"),
    "recmesh/evaluation/": ("tests/unit/evaluation tests/unit/releases",),
    "recmesh/features/": (
        "tests/unit/features tests/unit/retrieval",
        "tests/unit/kernels tests/unit/rank tests/unit/recall",
    ),
    "recmesh/releases/": ("tests/unit/releases",),
    "recmesh/retrieval/": ("tests/unit/retrieval", "tests/unit/recall"),
    "recmesh/serving/": (
        "tests/unit/serving",
        "tests/unit/rank tests/unit/recall tests/component/services/test_channels.py",
    ),
    "recmesh/serving/server.py": (
        "tests/unit/serving",
        "tests/component/services/test_lifecycle.py tests/component/services/test_addresses.py",
    ),
    "recmesh/stores/": (
        "tests/unit/stores",
        "tests/component/stores/test_redis.py tests/component/stores/test_lying_redis.py",
    ),
    "services/as/": ("tests/unit/chain",),
    "services/cm/": ("tests/unit/services", "tests/component/services/test_cm.py"),
    "services/compact/": ("tests/unit/services",),
    "services/rank/": ("tests/unit/rank", "tests/component/services/test_rank_backends.py"),
    "services/recall/": ("tests/unit/recall", "tests/component/services/test_coalescer.py"),
    "services/um/": ("tests/unit/services", "tests/component/services/test_um.py"),
}
"""The tests of modules, by the beginning of their path: those that run first, and those for what is left."""

CAUGHT, TIMED_OUT, SURVIVED, INVALID = "caught", "timed out", "survived", "invalid"

# pytest's exit codes: tests failed; interrupted, which errors of collection are; no tests.
_PASSED, _FAILED, _NO_TESTS = 0, 1, 5
_MIN_LIMIT_SECONDS, _LIMIT_FACTOR = 30.0, 4.0
_POLL_SECONDS = 0.05
# The slow part of each start of pytest; the processes with the mutants are forked after it.
_PRELOADED = (
    *("grpc.aio", "grpc_health.v1.health_pb2", "grpc_reflection.v1alpha.reflection", "hypothesis", "numpy"),
    *("onnxruntime", "opentelemetry.sdk.trace.export", "polars", "prometheus_client", "pydantic_settings", "pymilvus"),
    *("pytest_asyncio.plugin", "redis.asyncio", "structlog", "uvloop", "xdist.plugin"),
)
_COPIED = ("recmesh/kernels/*.so",)
_ENVIRONMENTS = (".venv", ".venv-train", ".venv-paddle-serving", ".venv-build", ".venv-installer")
# cosmic-ray's operators that need arguments.
_WITH_ARGUMENTS = ("core/VariableReplacer", "core/VariableInserter")

_PUNCTUATION = ("(", ")", "[", "]", "{", "}", ",", ":", ".", "=", "->")

Position = tuple[int, int]


class DropArgument(Operator):  # type: ignore[misc]  # cosmic-ray has no types
    """Drops a keyword argument of a call."""

    def mutation_positions(self, node: Any) -> Iterator[tuple[Position, Position]]:
        """See `Operator`."""
        for argument in self._arguments(node):
            yield argument.start_pos, argument.end_pos

    def mutate(self, node: Any, index: int) -> Any:
        """See `Operator`."""
        argument = list(self._arguments(node))[index]
        children = argument.parent.children
        at = children.index(argument)
        # With the comma behind it, if there is one.
        del children[at : at + (2 if at + 1 < len(children) and children[at + 1] == "," else 1)]
        return node

    @staticmethod
    def _arguments(node: Any) -> list[Any]:
        if node.type != "trailer" or node.children[0] != "(" or len(node.children) != 3:
            return []
        inside = node.children[1]
        given = inside.children if inside.type == "arglist" else [inside]
        return [part for part in given if part.type == "argument" and part.children[1] == "="]

    @classmethod
    def examples(cls) -> tuple[()]:
        """See `Operator`."""
        return ()


class DropCall(Operator):  # type: ignore[misc]
    """Drops a statement that is nothing but a call."""

    def mutation_positions(self, node: Any) -> Iterator[tuple[Position, Position]]:
        """See `Operator`."""
        if node.type == "simple_stmt" and node.children[0].type in ("atom_expr", "power"):
            last = node.children[0].children[-1]
            if last.type == "trailer" and last.children[0] == "(":
                yield node.children[0].start_pos, node.children[0].end_pos

    def mutate(self, node: Any, index: int) -> Any:
        """See `Operator`."""
        prefix = node.children[0].get_first_leaf().prefix
        node.children[0] = parso.python.tree.Keyword("pass", node.children[0].start_pos, prefix)
        return node

    @classmethod
    def examples(cls) -> tuple[()]:
        """See `Operator`."""
        return ()


class ChangeName(Operator):  # type: ignore[misc]
    """Changes a string that is a name rather than prose: a status, a label, a key."""

    def mutation_positions(self, node: Any) -> Iterator[tuple[Position, Position]]:
        """See `Operator`."""
        if node.type == "string" and node.value[0] in "\"'" and " " not in node.value:
            yield node.start_pos, node.end_pos

    def mutate(self, node: Any, index: int) -> Any:
        """See `Operator`."""
        quote = node.value[0]
        node.value = f"{quote}X{node.value[1:]}"
        return node

    @classmethod
    def examples(cls) -> tuple[()]:
        """See `Operator`."""
        return ()


@dataclass(frozen=True)
class Mutant:
    """One change of one module.

    Attributes:
        module: Path in the repository.
        operator: Name of the operator that makes it.
        occurrence: The number of the operator's position in the module.
        start: Line and column where it begins.
    """

    module: str
    operator: str
    occurrence: int
    start: Position


def operators() -> dict[str, Any]:
    """Return an instance of each operator by its name."""
    names = [name for name in plugins.operator_names() if name not in _WITH_ARGUMENTS]
    own = {"own/DropArgument": DropArgument(), "own/DropCall": DropCall(), "own/ChangeName": ChangeName()}
    return {name: plugins.get_operator(name)() for name in names} | own


def positions(module: str) -> dict[tuple[Position, Position], list[Mutant]]:
    """Return the mutants of a module by the place that they change."""
    source = (ROOT / module).read_text()
    nodes = [node for node in ast_nodes(get_ast(source)) if not _unchanged(node)]
    left_out = list(_left_out(ast.parse(source)))
    found: dict[tuple[Position, Position], list[Mutant]] = {}
    for name, operator in operators().items():
        occurrences = (position for node in nodes for position in operator.mutation_positions(node))
        for occurrence, (start, end) in enumerate(occurrences):
            if not any(first <= start and end <= last for first, last in left_out):
                found.setdefault((start, end), []).append(Mutant(module, name, occurrence, start))
    return found


def _unchanged(node: Any) -> bool:
    """Whether no operator changes a node: most nodes are names and punctuation."""
    return node.type in ("name", "newline", "endmarker") or getattr(node, "value", "") in _PUNCTUATION


def _left_out(tree: ast.Module) -> Iterator[tuple[Position, Position]]:
    """Yield the ranges of code whose mutants tests need not notice."""
    for node in ast.walk(tree):
        given: Iterable[ast.AST | None] = ()
        if isinstance(node, ast.AnnAssign | ast.arg):
            given = (node.annotation,)
        elif isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            given = (node.returns,)
        elif isinstance(node, ast.ClassDef):
            given = node.decorator_list  # frozen=True and the like guard against mistakes of programmers
        elif isinstance(node, ast.Expr) and (isinstance(node.value, ast.Constant) or _logs(node.value)):
            given = (node,)
        elif isinstance(node, ast.Assign):
            names = [target.id for target in node.targets if isinstance(target, ast.Name)]
            called = node.value.func if isinstance(node.value, ast.Call) else None
            if "__all__" in names or "__slots__" in names or (isinstance(called, ast.Name) and called.id == "TypeVar"):
                given = (node,)
        elif isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == "cast":
            given = node.args[:1]
        elif isinstance(node, ast.keyword) and node.arg == "strict":  # a guard, too: of `zip`
            given = (node,)
        for part in given:
            if isinstance(part, ast.expr | ast.stmt | ast.keyword):
                end = (part.end_lineno or part.lineno, part.end_col_offset or 0)
                yield (part.lineno, part.col_offset), end


def _logs(expression: ast.expr) -> bool:
    function = expression.func if isinstance(expression, ast.Call) else None
    holder = function.value if isinstance(function, ast.Attribute) else None
    return isinstance(holder, ast.Name) and holder.id in ("log", "_log", "logger")


def draw(modules: Sequence[str], count: int, seed: int) -> list[Mutant]:
    """Return distinct random mutants, in the order of the modules."""
    chooser = random.Random(seed)
    places = [mutants for module in modules for mutants in positions(module).values()]
    chosen = chooser.sample(range(len(places)), min(count, len(places)))
    return [chooser.choice(places[place]) for place in sorted(chosen)]


def circles(module: str) -> tuple[str, ...]:
    """Return the tests of a module, circle by circle: first the file of its name, if there is one."""
    _, found = max((entry for entry in CIRCLES.items() if module.startswith(entry[0])), default=("", ()))
    name = f"test_{Path(module).stem.strip('_')}.py"
    own = [str(path.relative_to(ROOT)) for test in " ".join(found).split() for path in (ROOT / test).glob(name)]
    return (" ".join(own), *found) if own else found


class Copy:
    """A copy of the checkout, in which mutants are made and tested. Leaves the checkout as it is, however it ends."""

    def __init__(self, folder: Path) -> None:
        """Copy everything that git does not ignore, and link to the environments."""
        self.root = folder
        listed = subprocess.run(
            ["git", "ls-files", "-co", "--exclude-standard", "-z"], cwd=ROOT, check=True, capture_output=True, text=True
        ).stdout.split("\0")
        for name in [*filter(None, listed), *(str(p.relative_to(ROOT)) for glob in _COPIED for p in ROOT.glob(glob))]:
            if (ROOT / name).is_file():
                (folder / name).parent.mkdir(parents=True, exist_ok=True)
                shutil.copy2(ROOT / name, folder / name)
        for name in _ENVIRONMENTS:
            if (ROOT / name).exists():
                (folder / name).symlink_to(ROOT / name)
        self._usual_seconds: dict[str, float] = {}
        # Bytecode that is valid for the hash of its source: a mutant may have the size and the time of the original.
        compiled = [str(folder / name) for name in ("recmesh", "services", "jobs", "local", "tests")]
        checked = ("--invalidation-mode", "checked-hash")
        subprocess.run([sys.executable, "-m", "compileall", "-q", *checked, *compiled], check=True)
        for name in _PRELOADED:
            importlib.import_module(name)

    def test(self, mutant: Mutant) -> tuple[str, str]:
        """Make a mutant and run its tests, circle by circle until one fails.

        Returns:
            What became of it, and its diff.
        """
        path = self.root / mutant.module
        before = path.read_text()
        try:
            after = mutate_code(before, operators()[mutant.operator], mutant.occurrence)
        except AttributeError:  # cosmic-ray cannot replace exceptions with dots, such as grpc.RpcError
            return INVALID, ""
        lines = (before.splitlines(keepends=True), after.splitlines(keepends=True))
        diff = "".join(difflib.unified_diff(*lines, mutant.module, mutant.operator, n=1))
        if not _differ(before, after):
            return INVALID, diff
        found = SURVIVED
        for tests in circles(mutant.module):
            limit = max(_MIN_LIMIT_SECONDS, _LIMIT_FACTOR * self._usual(tests))
            path.write_text(after)
            try:
                sys.dont_write_bytecode = True
                code = self._run(tests, limit)
            finally:
                sys.dont_write_bytecode = False
                path.write_text(before)
            if code is None:
                return TIMED_OUT, diff
            if code == _FAILED:
                return CAUGHT, diff
            if code not in (_PASSED, _NO_TESTS):
                return INVALID, diff
        return found, diff

    def _usual(self, tests: str) -> float:
        """The seconds that some tests take without a mutant."""
        if tests not in self._usual_seconds:
            started = time.monotonic()
            code = self._run(tests, None)
            if code not in (_PASSED, _NO_TESTS):
                raise SystemExit(f"mutants: {tests} fail without a mutant (pytest's code {code}): repair them first")
            self._usual_seconds[tests] = time.monotonic() - started
        return self._usual_seconds[tests]

    def _run(self, tests: str, limit: float | None) -> int | None:
        """pytest's exit code; None if it took too long."""
        found = [test for test in tests.split() if (self.root / test).exists()]
        if not found:
            return _NO_TESTS
        child = os.fork()
        if not child:
            self._become_pytest([*found])
        waited = time.monotonic()
        try:
            while limit is None or time.monotonic() - waited < limit:
                ended, status = os.waitpid(child, os.WNOHANG)
                if ended:
                    return os.waitstatus_to_exitcode(status)
                time.sleep(_POLL_SECONDS)
            return None
        finally:
            with suppress(ProcessLookupError):  # what the tests started, too
                os.killpg(child, signal.SIGKILL)
            with suppress(ChildProcessError):
                os.waitpid(child, 0)

    def _become_pytest(self, tests: list[str]) -> NoReturn:
        """Run tests in the copy, in a process that has been forked for them."""
        os.setsid()
        os.chdir(self.root)
        silent = os.open(os.devnull, os.O_RDWR)
        for descriptor in range(3):
            os.dup2(silent, descriptor)
        sys.path[:] = [
            str(self.root),
            *(path for path in sys.path if Path(path or ".").resolve() not in (ROOT, self.root)),
        ]
        for name in [name for name in sys.modules if name.partition(".")[0] == "tests"]:
            del sys.modules[name]
        os._exit(int(pytest.main(["-x", "-p", "no:cacheprovider", *tests])))


def _differ(before: str, after: str) -> bool:
    """Whether a mutant is another program, and neither a syntax error (`not x := y`) nor the same (3e38 + 1)."""
    try:
        return ast.dump(ast.parse(after)) != ast.dump(ast.parse(before))
    except SyntaxError:
        return False


def modules_of(patterns: Iterable[str]) -> list[str]:
    """Return the modules that some patterns name, with braces for alternatives, in order."""
    globs = chain.from_iterable(map(_alternatives, patterns))
    return sorted({str(path.relative_to(ROOT)) for glob in globs for path in ROOT.glob(glob)})


def _alternatives(pattern: str) -> list[str]:
    before, brace, rest = pattern.partition("{")
    inside, _, after = rest.partition("}")
    return [before + name + after for name in inside.split(",")] if brace else [pattern]


def main() -> None:
    """Draw, test and report."""
    parser = argparse.ArgumentParser(description="Change the code at random, and report which changes no test notices.")
    parser.add_argument("--mutants", type=int, default=200, help="how many to draw")
    parser.add_argument("--seed", type=int, default=1, help="of the draw")
    parser.add_argument("--list", action="store_true", help="show the mutants of the draw without testing them")
    parser.add_argument("modules", nargs="*", help="paths, or patterns such as recmesh/serving/*.py")
    arguments = parser.parse_args()
    patterns = " ".join(arguments.modules).split() or MODULES
    drawn = draw(modules_of(patterns), arguments.mutants, arguments.seed)
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))  # ends the tests and removes the copy
    found: dict[str, Counter[str]] = {}
    with tempfile.TemporaryDirectory(prefix="recmesh-mutants-") as folder:
        copy = None if arguments.list else Copy(Path(folder))
        for number, mutant in enumerate(drawn, 1):
            print(f"{number}/{len(drawn)} {mutant.module}:{mutant.start[0]} {mutant.operator}", end=" ", flush=True)
            outcome, diff = copy.test(mutant) if copy else ("drawn", "")
            print(outcome, flush=True)
            if outcome == SURVIVED:
                print(diff, flush=True)
            found.setdefault(mutant.module, Counter())[outcome] += 1
    for module, counts in found.items():
        print(f"{module:45}", ", ".join(f"{count} {outcome}" for outcome, count in sorted(counts.items())))
    total = sum(found.values(), Counter())
    tested = total[CAUGHT] + total[TIMED_OUT] + total[SURVIVED]
    if tested:
        share = (tested - total[SURVIVED]) / tested
        print(f"{share:.1%} of {tested} mutants caught; {total[INVALID]} more were invalid")


if __name__ == "__main__":
    main()
