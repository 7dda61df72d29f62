"""`python -m tests.import_graph [ROOT]`: print the packages of a checkout and the imports between their files.

The layers are those of this checkout's pyproject.toml, so that two versions of the code can be compared by the same
rules. An import "up" breaks the order of the layers. A cycle is a maximal set of files, or of packages and files of the
same parent, that reach each other through imports.
"""

import sys
from collections import Counter
from collections.abc import Iterable
from pathlib import Path

import grimp
import tomli

ROOT = Path(__file__).resolve().parent.parent
Import = tuple[str, str]


def layer_orders() -> list[list[list[str]]]:
    """Return the layers of every layers contract, highest first, each a list of full module names."""
    linter = tomli.loads((ROOT / "pyproject.toml").read_text())["tool"]["importlinter"]
    return [
        [[f"{prefix}{name.strip(' ()')}" for name in layer.split(":")] for layer in contract["layers"]]
        for contract in linter["contracts"]
        if contract["type"] == "layers"
        for prefix in [f"{container}." for container in contract.get("containers", [])] or [""]
    ]


def depth(module: str, layers: list[list[str]]) -> int | None:
    """Return the position of a module's layer, 0 for the highest, or None if no layer holds the module."""
    found = (at for at, names in enumerate(layers) if any(f"{module}.".startswith(f"{name}.") for name in names))
    return next(found, None)


def is_upward(edge: Import, layers: list[list[str]]) -> bool:
    """Tell whether an import leads from a lower layer to a higher one."""
    importer, imported = (depth(module, layers) for module in edge)
    return importer is not None and imported is not None and imported < importer


def siblings(edge: Import) -> Import | None:
    """Return the two children of the closest common parent that an import connects; None within a single module."""
    importer, imported = (module.split(".") for module in edge)
    common = next((at for at, names in enumerate(zip(importer, imported, strict=False)) if names[0] != names[1]), None)
    return None if common is None else (".".join(importer[: common + 1]), ".".join(imported[: common + 1]))


def cycles(edges: Iterable[Import]) -> list[list[str]]:
    """Return the strongly connected components that have more than one member."""
    graph = grimp.ImportGraph()
    for importer, imported in edges:
        graph.add_import(importer=importer, imported=imported)
    components = (
        {module} | (graph.find_upstream_modules(module) & graph.find_downstream_modules(module))
        for module in graph.modules
    )
    return [sorted(component) for component in {frozenset(c) for c in components} if len(component) > 1]


def main() -> None:
    """Print the graph of the checkout that the command line names, this one by default."""
    root = Path(sys.argv[1] if len(sys.argv) > 1 else ROOT).resolve()
    # Python has found this checkout through the current folder or the environment, and loaded `tests` from it.
    sys.path[:] = [str(root), *(entry for entry in sys.path if entry not in ("", str(ROOT)))]
    del sys.modules["tests"]
    graph = grimp.build_graph("recmesh", "services", "jobs", "local", "benchmarks", "tests", cache_dir=None)

    def package(module: str) -> str:
        is_folder = root.joinpath(*module.split(".")).is_dir()
        return module if is_folder else module.rpartition(".")[0]

    files = [module for module in graph.modules if module.partition(".")[2] or graph.find_children(module)]
    edges = [(module, other) for module in sorted(files) for other in graph.find_modules_directly_imported_by(module)]
    between = [(a, b) for a, b in ((package(a), package(b)) for a, b in edges) if a != b]
    inside, leaving = Counter(package(a) for a, b in edges if package(a) == package(b)), Counter(a for a, _ in between)
    print(f"{'package':34}{'files':>6}{'imports inside':>16}{'imports of others':>19}")
    for name, count in sorted(Counter(map(package, files)).items()):
        print(f"{name:34}{count:6}{inside[name]:16}{leaving[name]:19}")
    upward = sorted({edge for layers in layer_orders() for edge in edges if is_upward(edge, layers)})
    pairs = {pair for edge in edges if (pair := siblings(edge))}
    print(f"\n{len(files)} files, {len(edges)} imports, {len(set(between))} pairs of packages")
    for title, found in (
        ("imports up", [" -> ".join(edge) for edge in upward]),
        ("cycles between files", [", ".join(component) for component in cycles(edges)]),
        ("cycles between children of a package", [", ".join(component) for component in cycles(pairs)]),
    ):
        print(f"{title}: {len(found)}", *found, sep="\n  ")


if __name__ == "__main__":
    main()
