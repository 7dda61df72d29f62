"""The Markdown pages: their width, their words, and that what they name exists."""

import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.servers import ROOT

WIDTH = 100
README_LINES = 150
PAGES = sorted([*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md")])
GENERATED = {ROOT / "docs" / name for name in ("values.md", "telemetry.md")}
SOURCES = ("recmesh", "services", "jobs", "local", "benchmarks", "tests", "docker", "charts", "protos")
SUFFIXES = {".py", ".c", ".proto", ".yaml", ".tpl", ".json", ".Dockerfile"}

# Folders that programs make; a fresh clone does not have them.
IGNORED = tuple(line for line in (ROOT / ".gitignore").read_text().splitlines() if "/" in line)
# A path from the root of the repository, as prose or a code span names it; `*` and `<...>` stand for any name.
PATH = re.compile(rf"(?<![\w./-])(?:{'|'.join(SOURCES)}|docs|requirements|\.ci|\.devcontainer)/[\w./*<>-]+")
PAGE = re.compile(r"docs/(?:adr/\d{3}|[a-z]+\.md)")
MODULE = re.compile(r"-m ((?:recmesh|services|jobs|local|benchmarks|tests)(?:\.\w+)*)(?!\.<)(?!\w)")
TARGET = re.compile(r"\bmake ([a-z][a-z-]*)\b")
LINK = re.compile(r"\]\(([^)\s]+)\)")

WORDS = {
    r"\bthe seed\b|\bseed system\b|\boriginal system\b": "write 'the v0 contract' or 'legacy client'",
    r"(?<![\w./`])\.\d": "write a zero before the decimal point",
    r"\b(?:anew|rightly|lately)\b|\bof such\b": "write plain English",
    r"\b(?:is|are|was|were) away\b": "write 'unavailable'",
}


def blocks(page: Path) -> Iterator[tuple[int, str, bool]]:
    """Number and text of each line, and whether it belongs to a code block, fenced or indented."""
    fenced = indented = in_list = False
    previous = ""
    for number, line in enumerate(page.read_text().splitlines(), 1):
        if fence := line.lstrip().startswith("```"):
            fenced = not fenced
        if line.strip() and not line.startswith(" "):
            in_list = bool(re.match(r"[-*] |\d+\. ", line))
        if not fenced and line.startswith("    ") and not in_list:
            indented = indented or not previous.strip() or previous.startswith("#")
        elif line.strip():
            indented = False
        yield number, line, fence or fenced or indented
        previous = line


def prose(page: Path) -> Iterator[tuple[str, str]]:
    """Place and text of each line outside code blocks."""
    for number, line, code in blocks(page):
        if not code:
            yield f"{page.relative_to(ROOT)}:{number}", line


def anchors(page: Path) -> set[str]:
    """The anchors of a page's headings, as hosting platforms derive them."""
    titles = [line.lstrip("#").strip() for _, line, code in blocks(page) if not code and line.startswith("#")]
    return {re.sub(r"[^\w -]", "", title.lower()).replace(" ", "-") for title in titles}


def exists(path: str) -> bool:
    """Whether a path that a page names is in the repository; a decision record may be named by its number alone."""
    pattern = re.sub(r"<[^>]*>", "*", path.rstrip("./"))
    if pattern.startswith(IGNORED):
        return True
    return any(ROOT.glob(pattern)) or bool(re.fullmatch(r"docs/adr/\d{3}", pattern) and any(ROOT.glob(f"{pattern}-*")))


def module_exists(name: str) -> bool:
    path = ROOT.joinpath(*name.split("."))
    return path.with_suffix(".py").exists() or (path / "__main__.py").exists()


def test_the_readme_is_short() -> None:
    assert len((ROOT / "README.md").read_text().splitlines()) <= README_LINES


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_prose_wraps_at_one_width(page: Path) -> None:
    if page in GENERATED:
        return
    long = [
        place
        for place, line in prose(page)
        if len(line) > WIDTH and not line.lstrip().startswith(("|", "![")) and " " in line.strip()
    ]
    assert long == []


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_words(page: Path) -> None:
    found = [
        f"{place}: {match[0]!r}: {advice}"
        for place, line in prose(page)
        for pattern, advice in WORDS.items()
        if (match := re.search(pattern, re.sub(r"`[^`]*`", "``", line)))
    ]
    assert found == []


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_links_lead_somewhere(page: Path) -> None:
    broken = []
    for place, line in prose(page):
        for link in LINK.findall(line):
            if link.startswith(("https://", "http://")):
                continue
            path, _, anchor = link.partition("#")
            target = (page.parent / path).resolve() if path else page
            if not target.exists() or (anchor and anchor not in anchors(target)):
                broken.append(f"{place}: {link}")
    assert broken == []


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_paths_that_prose_names_exist(page: Path) -> None:
    assert [f"{place}: {path}" for place, line in prose(page) for path in PATH.findall(line) if not exists(path)] == []


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_commands_that_pages_name_exist(page: Path) -> None:
    """Modules after `-m`, and make targets in code."""
    targets = set(re.findall(r"(?m)^([a-z][a-z-]*):", (ROOT / "Makefile").read_text()))
    missing = []
    for number, line, code in blocks(page):
        place = f"{page.relative_to(ROOT)}:{number}"
        missing += [f"{place}: {name}" for name in MODULE.findall(line) if not module_exists(name)]
        spans = [line] if code else re.findall(r"`([^`]*)`", line)
        missing += [f"{place}: make {name}" for span in spans for name in TARGET.findall(span) if name not in targets]
    assert missing == []


def test_pages_that_the_code_names_exist() -> None:
    sources = [path for folder in SOURCES for path in (ROOT / folder).rglob("*") if path.suffix in SUFFIXES]
    missing = [
        f"{path.relative_to(ROOT)}: {page}"
        for path in [*sources, ROOT / "Makefile"]
        for page in PAGE.findall(path.read_text())
        if not exists(page)
    ]
    assert missing == []
