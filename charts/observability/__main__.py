"""`python -m charts.observability`: write charts/recmesh/dashboards/*.json and charts/recmesh/alerts.yaml."""

import json
from pathlib import Path

from grafana_foundation_sdk.builders.dashboard import Dashboard
from grafana_foundation_sdk.cog.encoder import JSONEncoder
from grafana_foundation_sdk.models import dashboard as models

from charts.observability import alerts
from charts.observability.dashboards import ALL

CHART = Path(__file__).resolve().parent.parent / "recmesh"


def rendered() -> dict[Path, str]:
    """Return the contents of all generated files."""
    pages = {CHART / "dashboards" / f"{name}.json": _built(page()) for name, page in ALL.items()}
    files = {path: json.dumps(page, cls=JSONEncoder, indent=1, sort_keys=True) + "\n" for path, page in pages.items()}
    return files | {CHART / "alerts.yaml": alerts.rules()}


def _built(page: Dashboard) -> models.Dashboard:
    """Build a dashboard without the fields of interval variables, which the SDK gives to variables of all types."""
    built = page.build()
    assert built.templating is not None
    for variable in built.templating.list_val or ():
        variable.auto = variable.auto_count = variable.auto_min = None
    return built


def main() -> None:
    """Write the files, and delete dashboards that no longer have a source."""
    files = rendered()
    folder = CHART / "dashboards"
    folder.mkdir(exist_ok=True)
    for stale in set(folder.glob("*.json")) - files.keys():
        stale.unlink()
    for path, content in files.items():
        path.write_text(content)


if __name__ == "__main__":
    main()
