"""Dashboards against the types of Grafana: @grafana/schema, which the TypeScript compiler checks."""

import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

_RAW = "./node_modules/@grafana/schema/dist/esm/raw"

# Type and file of the options and of the custom field configuration of each type of panel.
_PANELS = {
    "barchart": ("BarChart", ("Options", "FieldConfig")),
    "stat": ("Stat", ("Options", "")),
    "table": ("Table", ("", "FieldConfig")),
    "timeseries": ("TimeSeries", ("Options", "FieldConfig")),
}

# JSON has the values of enumerations, not their names.
_PLAIN = """\
type Plain<T> = unknown extends T ? T
  : T extends string ? `${T}`
  : T extends number | boolean | null | undefined ? T
  : T extends (infer U)[] ? Plain<U>[]
  : T extends object ? { [K in keyof T]: Plain<T[K]> }
  : T;"""

COMPILE = (
    *("tsc", "--noEmit", "--strict", "--skipLibCheck", "--target", "es2022"),
    *("--lib", "es2022,dom,dom.iterable", "--module", "esnext", "--moduleResolution", "bundler"),
    *("--jsx", "react-jsx", "schema.ts", "page.tsx"),
)
"""The command that checks the source that `write` has written, and the page that draws."""


def write(folder: Path, dashboards: Sequence[Path]) -> None:
    """Write a TypeScript source, schema.ts, that compiles if the dashboards have the types of Grafana."""
    (folder / "schema.ts").write_text("\n".join(_lines(dashboards)) + "\n")


def _lines(dashboards: Sequence[Path]) -> Iterator[str]:
    yield f'import type {{ Dashboard }} from "{_RAW}/dashboard/x/dashboard_types.gen";'
    for kind, (name, _) in _PANELS.items():
        yield f'import type * as {kind} from "{_RAW}/composable/{kind}/panelcfg/x/{name}PanelCfg_types.gen";'
    yield _PLAIN
    for path in dashboards:
        dashboard = json.loads(path.read_text())
        yield _typed(dashboard, "Dashboard")
        for panel in dashboard["panels"]:
            if panel["type"] != "row":
                yield from _panel(panel)


def _panel(panel: dict[str, Any]) -> Iterator[str]:
    kind = panel["type"]
    _, types = _PANELS[kind]
    parts = panel.get("options"), panel["fieldConfig"]["defaults"].get("custom")
    for part, name in zip(parts, types, strict=True):
        if part and name:
            yield _typed(part, f"Partial<{kind}.{name}>")


def _typed(value: object, type_name: str) -> str:
    return f"({json.dumps(value)}) satisfies Plain<{type_name}>;"
