/** Draws a dashboard with Grafana's libraries for data and panels, from the answers of a Prometheus. */

import {
  applyFieldOverrides,
  createTheme,
  dateTime,
  FieldConfigOptionsRegistry,
  FieldType,
  getFieldDisplayName,
  getFieldDisplayValues,
  standardTransformers,
  standardTransformersRegistry,
  ThemeContext,
  toDataFrame,
  transformDataFrame,
  type DataFrame,
  type TimeRange,
} from "@grafana/data";
import { BigValue, GlobalStyles, PanelChrome, Table, TimeSeries } from "@grafana/ui";
import { createRoot } from "react-dom/client";
import { lastValueFrom } from "rxjs";

type Json = any;
type Variables = Record<string, string>;
type Series = { metric: Record<string, string>; value?: [number, string]; values?: [number, string][] };

const COLUMNS = 24, ROW = 38, GAP = 8;
const MAX_FRAMES = 1_000;
const theme = createTheme({ colors: { mode: "light" } });

// What a panel of Grafana adds to the field configuration of a dashboard.
const DEFAULTS: Record<string, Json> = {
  timeseries: {
    color: { mode: "palette-classic" },
    custom: {
      axisColorMode: "text", axisLabel: "", axisPlacement: "auto", drawStyle: "line", fillOpacity: 0,
      gradientMode: "none", hideFrom: { legend: false, tooltip: false, viz: false }, lineInterpolation: "linear",
      lineWidth: 1, pointSize: 5, scaleDistribution: { type: "linear" }, showPoints: "never", spanNulls: false,
      stacking: { group: "A", mode: "none" }, thresholdsStyle: { mode: "off" },
    },
  },
  stat: { color: { mode: "thresholds" } },
  table: { custom: { align: "auto", cellOptions: { type: "auto" }, inspect: false } },
  barchart: { color: { mode: "palette-classic" } },
};

standardTransformersRegistry.setInit(() =>
  // Some have two names.
  [...new Set<Json>(Object.values(standardTransformers))].map((transformation) => ({
    id: transformation.id, name: transformation.name, transformation, editor: () => null,
  })),
);

/** Settings of fields that are taken over as they are. */
const properties = new FieldConfigOptionsRegistry(() => {
  const as = (id: string, path: string, isCustom: boolean): Json => ({
    id, path, isCustom, name: id, editor: () => null, override: () => null,
    process: (value: Json) => value, shouldApply: () => true,
  });
  const custom = Object.keys(DEFAULTS.timeseries.custom).concat("axisSoftMin", "axisSoftMax", "align", "cellOptions", "minWidth");
  return ["unit", "color", "thresholds", "decimals"].map((name) => as(name, name, false))
    .concat(custom.map((name) => as(`custom.${name}`, name, true)));
});

function Dashboard({ panels, width, range }: { panels: Json[]; width: number; range: TimeRange }) {
  const column = (width + GAP) / COLUMNS;
  const height = Math.max(...panels.map(({ gridPos }) => gridPos.y + gridPos.h)) * ROW;
  return (
    <ThemeContext.Provider value={theme}>
      <GlobalStyles />
      <div style={{ position: "relative", width, height, background: theme.colors.background.canvas }}>
        {panels.map((panel) => {
          const { x, y, w, h } = panel.gridPos;
          const place = { left: x * column, top: y * ROW, width: w * column - GAP, height: h * ROW - GAP };
          return (
            <div key={panel.id} data-panel={panel.title} style={{ position: "absolute", ...place }}>
              {panel.type === "row" ? <h5>{panel.title}</h5> : (
                <PanelChrome title={panel.title} width={place.width} height={place.height}>
                  {(w, h) => <Panel panel={panel} width={w} height={h} range={range} />}
                </PanelChrome>
              )}
            </div>
          );
        })}
      </div>
    </ThemeContext.Provider>
  );
}

function Panel({ panel, width, height, range }: { panel: Json; width: number; height: number; range: TimeRange }) {
  const { frames, options, fieldConfig } = panel;
  if (!frames.some((frame: DataFrame) => frame.length)) return <div data-empty={panel.title}>No data</div>;
  switch (panel.type) {
    case "timeseries":
      return <TimeSeries frames={frames} width={width} height={height} timeRange={range} timeZone="utc"
        legend={options.legend} />;
    case "stat": {
      const reduceOptions = options.reduceOptions;
      const shown = getFieldDisplayValues({
        fieldConfig, reduceOptions, theme, data: frames, replaceVariables: (text) => text, timeZone: "utc",
      });
      return <BigValue value={shown[0].display} width={width} height={height} theme={theme} textMode={options.textMode}
        colorMode={options.colorMode} graphMode={options.graphMode} justifyMode={options.justifyMode} />;
    }
    case "table":
      return <Table data={frames[0]} width={width} height={height} />;
    case "barchart":
      return <Bars frame={frames[0]} label={options.xField} stacked={options.stacking === "normal"} height={height} />;
    default:
      throw new Error(`no drawing for a panel of type ${panel.type}`);
  }
}

/** Horizontal bars: @grafana/ui has no bar chart. Names, values and colours of the fields are Grafana's. */
function Bars({ frame, label, stacked, height }: { frame: DataFrame; label: string; stacked: boolean; height: number }) {
  const names = frame.fields.find((field) => getFieldDisplayName(field, frame) === label)!.values;
  const columns = frame.fields.filter((field) => field.type === FieldType.number);
  const total = (row: number) => columns.reduce((sum, field) => sum + (field.values[row] ?? 0), 0);
  const largest = Math.max(...names.map((_, row) => stacked ? total(row)
    : Math.max(...columns.map((field) => field.values[row] ?? 0))));
  const thick = Math.min(22, (height - 30) / names.length / (stacked ? 1 : columns.length) - 6);
  return (
    <div style={{ display: "grid", gridTemplateColumns: "max-content 1fr", gap: 10, alignItems: "center", padding: 8 }}>
      {names.map((name, row) => [
        <span key={`${name}-name`}>{name}</span>,
        <div key={name} style={{ display: stacked ? "flex" : "block" }}>
          {columns.map((field) => {
            const { text, suffix, color } = field.display!(field.values[row]);
            const hidden = color === "transparent";
            return (
              <div key={field.name} title={getFieldDisplayName(field, frame)} style={{
                width: `${(85 * (field.values[row] ?? 0)) / largest}%`, height: thick, background: color,
                whiteSpace: "nowrap", fontSize: 11, lineHeight: `${thick}px`, direction: "ltr",
              }}>
                <span style={{ marginLeft: "calc(100% + 4px)" }}>
                  {hidden ? "" : `${text}${suffix ?? ""}${stacked ? "" : ` ${getFieldDisplayName(field, frame)}`}`}
                </span>
              </div>
            );
          })}
        </div>,
      ])}
    </div>
  );
}

/** The frames of a target, as Grafana's data source makes them. */
async function query(prometheus: string, panel: Json, target: Json, range: TimeRange, variables: Variables) {
  const step = Number(variables.__interval.replace("s", ""));
  const [from, to] = [range.from.unix(), range.to.unix()];
  const expression = replaced(target.expr, variables);
  const time: Variables = target.instant ? { time: `${to}` } : { start: `${from}`, end: `${to}`, step: `${step}` };
  const parameters = new URLSearchParams({ query: expression, ...time });
  const answer = await fetch(`${prometheus}/api/v1/query${target.instant ? "" : "_range"}?${parameters}`);
  const { data, error } = await answer.json();
  if (error) throw new Error(`${panel.title}: ${error}`);
  const series: Series[] = data.result;
  return target.format === "table" ? [tableFrame(series, panel, target)]
    : series.map((found) => seriesFrame(found, target.legendFormat, [from, to, step], target.refId));
}

function seriesFrame({ metric, value, values }: Series, legend: string, steps: number[], refId: string) {
  const name = legend === "__auto" ? undefined
    : legend.replace(/\{\{\s*(\w+)\s*\}\}/g, (_: string, label: string) => metric[label] ?? "");
  const points = value ? [value] : spaced(values!, steps);
  return toDataFrame({
    refId,
    fields: [
      { name: "Time", type: FieldType.time, values: points.map(([time]) => time * 1000) },
      {
        name: "Value", type: FieldType.number, labels: metric, config: { displayNameFromDS: name },
        values: points.map(([, number]) => number === null ? null : Number(number)),
      },
    ],
  });
}

/** The points of a series at all steps; null where it has none, so that lines have gaps. */
function spaced(values: [number, string][], [from, to, step]: number[]): [number, string | null][] {
  const known = new Map(values.map(([time, value]) => [Math.round(time), value]));
  const times = Array.from({ length: Math.floor((to - from) / step) + 1 }, (_, index) => from + index * step);
  return times.map((time) => [time, known.get(time) ?? null]);
}

function tableFrame(series: Series[], panel: Json, { refId }: Json) {
  const labels = [...new Set(series.flatMap(({ metric }) => Object.keys(metric)))].sort();
  const name = panel.targets.length > 1 ? `Value #${refId}` : "Value";
  return toDataFrame({
    refId,
    fields: [
      { name: "Time", type: FieldType.time, values: series.map(({ value }) => value![0] * 1000) },
      ...labels.map((label) => (
        { name: label, type: FieldType.string, values: series.map(({ metric }) => metric[label] ?? "") }
      )),
      { name, type: FieldType.number, values: series.map(({ value }) => Number(value![1])) },
    ],
  });
}

const replaced = (text: string, variables: Variables) =>
  Object.keys(variables).sort((a, b) => b.length - a.length)
    .reduce((done, name) => done.replaceAll(`$${name}`, variables[name]), text);

async function loaded(panel: Json, prometheus: string, range: TimeRange, variables: Variables) {
  if (panel.type === "row") return panel;
  const answers = await Promise.all(
    panel.targets.map((target: Json) => query(prometheus, panel, target, range, variables)));
  const data = await lastValueFrom(transformDataFrame(panel.transformations ?? [], answers.flat()));
  const { custom, ...defaults } = DEFAULTS[panel.type];
  const fieldConfig = {
    ...panel.fieldConfig,
    defaults: {
      ...defaults, ...panel.fieldConfig.defaults, custom: { ...custom, ...panel.fieldConfig.defaults.custom },
    },
  };
  const frames = applyFieldOverrides({
    data, fieldConfig, theme, timeZone: "utc", replaceVariables: (text) => text, fieldConfigRegistry: properties,
  });
  return { ...panel, fieldConfig, frames };
}

/** Wait until all charts are there and have had time to fit the place that their legends leave. */
async function settled(charts: number) {
  const frame = () => new Promise(requestAnimationFrame);
  for (let frames = 0; document.querySelectorAll(".uplot canvas").length < charts; frames++) {
    if (frames > MAX_FRAMES) throw new Error("the charts do not appear");
    await frame();
  }
  for (let frames = 0; frames < 30; frames++) await frame();
}

/** Draw a dashboard over the `seconds` before the time `to`. Returns the titles of panels without data. */
(window as Json).draw = async (
  dashboard: Json, prometheus: string, to: number, seconds: number, variables: Variables, width: number,
) => {
  const range: TimeRange = { from: dateTime((to - seconds) * 1000), to: dateTime(to * 1000), raw: { from: "", to: "" } };
  // As Grafana computes them for a data source with its default scrape interval of 15 s.
  const step = Math.max(1, Math.ceil(seconds / 300));
  const intervals = {
    __interval: `${step}s`, __range: `${seconds}s`, __rate_interval: `${Math.max(60, step + 15)}s`,
  };
  const all = { ...variables, ...intervals };
  const panels = await Promise.all(dashboard.panels.map((panel: Json) => loaded(panel, prometheus, range, all)));
  const isEmpty = ({ frames }: Json) => !frames.some((frame: DataFrame) => frame.length);
  const empty = panels.filter((panel) => panel.frames && isEmpty(panel));
  const charts = panels.filter((panel) => panel.type === "timeseries" && !isEmpty(panel));
  createRoot(document.getElementById("page")!).render(<Dashboard panels={panels} width={width} range={range} />);
  await settled(charts.length);
  return empty.map(({ title }) => title);
};
