"""`python docker/vulnerabilities.py --database FOLDER`: look up what recmesh installs in a database of vulnerabilities.

Checks the lock files, and with `--sboms FOLDER` the CycloneDX files in it (`make sbom INTO=FOLDER`), with osv-scanner
and without a network. The database is a folder of OSV's exports: PyPI/all.zip, and for SBOMs Debian/all.zip and
Go/all.zip. requirements/osv-scanner.toml lists the findings that are accepted, with reasons. Standard library only.
"""

import argparse
import json
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
SCANNER = "github.com/google/osv-scanner/v2/cmd/osv-scanner@v2.5.0"
ACCEPTED = ROOT / "requirements" / "osv-scanner.toml"

_ADVICE = "docs/supply-chain.md#vulnerability-check says where to get it"
# The folder in which osv-scanner looks has another name in older versions.
_FOLDERS = ("osv-scalibr", "osv-scanner")
_NO_DATABASE = re.compile(r"could not load db for (.+) ecosystem")


class CheckError(Exception):
    """The check cannot be done. The message is one line that says what to do."""


def scan(database: Path, files: Sequence[str]) -> list[str]:
    """Look up the packages of lock files (requirements.txt:PATH) and of CycloneDX files (PATH).

    Returns:
        One line for each vulnerability of a version that is installed.

    Raises:
        CheckError: osv-scanner or a part of the database is missing, or osv-scanner fails.
    """
    scanner = shutil.which("osv-scanner")
    if not scanner:
        raise CheckError(f"osv-scanner is not on the PATH: go install {SCANNER}")
    with tempfile.TemporaryDirectory() as folder:
        for name in _FOLDERS:
            (Path(folder) / name).symlink_to(database.resolve())
        command = [scanner, "scan", "source", "--offline", "--no-resolve", "--local-db-path", folder, "--format=json"]
        command += ["--config", str(ACCEPTED), *(f"--lockfile={file}" for file in files)]
        result = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    if missing := _NO_DATABASE.search(result.stdout + result.stderr):
        raise CheckError(f"{database} has no {missing[1]}/all.zip; {_ADVICE}")
    if result.returncode not in (0, 1):
        raise CheckError(f"osv-scanner failed: {' '.join(result.stderr.split())}")
    return _lines(json.loads(result.stdout))


def _lines(report: dict[str, Any]) -> list[str]:
    files: dict[str, list[str]] = {}
    for result in report["results"]:
        path = Path("/", result["source"]["path"])
        for package in result["packages"]:
            name, version = package["package"]["name"], package["package"]["version"]
            for found in package["vulnerabilities"]:
                files.setdefault(f"{name} {version}: {_vulnerability(found, name)}", []).append(_shown(path))
    return [f"{vulnerable} [{', '.join(sorted(set(paths)))}]" for vulnerable, paths in sorted(files.items())]


def _shown(path: Path) -> str:
    return str(path.relative_to(ROOT) if path.is_relative_to(ROOT) else path)


def _vulnerability(found: dict[str, Any], name: str) -> str:
    """The ids of a vulnerability, the versions of the package without it, and what it is."""
    ids = ", ".join([found["id"], *(alias for alias in found.get("aliases", []) if alias.startswith("CVE-"))])
    fixed = {
        event["fixed"]
        for affected in found.get("affected", [])
        if affected["package"]["name"] == name
        for versions in affected.get("ranges", [])
        for event in versions["events"]
        if "fixed" in event
    }
    remedy = f"fixed in {', '.join(sorted(fixed))}" if fixed else "not fixed"
    return ": ".join(filter(None, [f"{ids} ({remedy})", found.get("summary", "")]))


def _files(sboms: Path | None) -> list[str]:
    locks = sorted((ROOT / "requirements").rglob("*.txt"))
    documents = sorted(sboms.glob("*.cdx.json")) if sboms else []
    if sboms and not documents:
        raise CheckError(f"{sboms} has no file *.cdx.json: make sbom INTO={sboms}")
    return [*(f"requirements.txt:{lock}" for lock in locks), *(str(document.resolve()) for document in documents)]


def _check(database: str, sboms: str) -> int:
    if not database:
        raise CheckError(f"SECURITY_DB is not set: it is the folder with the database; {_ADVICE}")
    if not Path(database).is_dir():
        raise CheckError(f"SECURITY_DB={database} is not a folder; {_ADVICE}")
    files = _files(Path(sboms) if sboms else None)
    found = scan(Path(database), files)
    print("\n".join(found) if found else f"no known vulnerability in {len(files)} files")
    return 1 if found else 0


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the check. Returns 0 without findings, 1 with findings, and 2 if it could not be done."""
    parser = argparse.ArgumentParser(prog="docker/vulnerabilities.py", description="Look for known vulnerabilities.")
    parser.add_argument("--database", default="", metavar="FOLDER", help="OSV's exports, such as PyPI/all.zip")
    parser.add_argument("--sboms", default="", metavar="FOLDER", help="CycloneDX files of images")
    options = parser.parse_args(arguments)
    try:
        return _check(options.database, options.sboms)
    except CheckError as error:
        print(f"recmesh: {error}", file=sys.stderr)
        return 2


if __name__ == "__main__":
    sys.exit(main())
