// What it is worth: rates of each workflow, agent version and tenant, drift, alerts and returns,
// where the insight role runs.

import { h, part } from "../dom.js";
import { count, ms, percent, tone, usd } from "../format.js";
import { anything } from "../ui/anything.js";
import { badge, choice, field, heading, section, table, time } from "../ui/basics.js";
import { empty, loader } from "../ui/states.js";

const RELOAD_MS = 60_000;
const GONE = new Set([404, 501, 503]);
const ROWS_MAX = 200;
const WINDOWS = ["hour", "day", "month"];
const COLUMNS = [
  ["Cases", "cases", count],
  ["Success", "success", percent],
  ["Errors", "errors", percent],
  ["Escalated", "escalated", percent],
  ["Degraded", "degraded", percent],
  ["Overridden", "overridden", percent],
  ["Guarded", "guarded", percent],
  ["Confidence", "confidence", percent],
  ["A case", "usd_per_case", usd],
  ["p50", "p50_ms", ms],
  ["p99", "p99_ms", ms],
  ["Rating", "rating", (value) => (value == null ? "–" : Number(value).toFixed(1))],
];

export const page = {
  title: () => "Insight",
  mount(root, context) {
    const room = h("div");
    const body = h("div", { class: "stack" });
    let window = WINDOWS.includes(context.route.query.window) ? context.route.query.window : "day";
    let last = null;
    const draw = part(body, ({ view, over }) => drawView(view, over));
    const show = (view) => {
      last = view;
      draw({ view, over: window });
    };
    const select = choice("window", WINDOWS.slice(1), window, "hour");
    select.addEventListener("change", () => {
      window = select.value || "hour";
      context.query({ window });
      show(last);
    });
    root.append(heading("Insight", field("Over the last", select)), room);
    const load = loader({
      root: room,
      body,
      what: "insight",
      context,
      draw: show,
      fetch: async (signal) => {
        try {
          return await context.api.get("/insight", {}, signal);
        } catch (error) {
          if (GONE.has(error.status)) return null;
          throw error;
        }
      },
    });
    load();
    const timer = setInterval(load, RELOAD_MS);
    context.signal.addEventListener("abort", () => clearInterval(timer));
  },
};

function drawView(view, over) {
  if (!view) {
    const how = "Start it: caseworks insight, or caseworks up --insight.";
    return empty("Insight does not run here.", how);
  }
  if (!Array.isArray(view.subjects)) {
    const some = Object.keys(view).length > 0;
    return some ? section("Insight", anything(view)) : empty("Nothing is measured yet.");
  }
  const kinds = [...new Set(view.subjects.map((it) => it.kind))];
  return [
    h("p", { class: "quiet-text" }, "As of ", time(view.at)),
    view.alerts?.length > 0 && section("Alerts", drawAlerts(view.alerts)),
    view.business && section("What it saves", anything(view.business)),
    kinds.length === 0 && empty("Nothing is measured yet."),
    kinds.map((kind) => drawKind(kind, view.subjects, over)),
  ];
}

function drawAlerts(alerts) {
  return h(
    "ul",
    { class: "rows" },
    alerts
      .slice(0, ROWS_MAX)
      .map((it) =>
        h(
          "li",
          {},
          badge(it.rule, "warn"),
          h("strong", { text: it.scope }),
          h("span", { text: it.says }),
          h("span", { class: "end" }, time(it.since)),
        ),
      ),
  );
}

function drawKind(kind, subjects, over) {
  const mine = subjects.filter((it) => it.kind === kind);
  mine.sort((a, b) => (b[over]?.cases ?? 0) - (a[over]?.cases ?? 0));
  const rows = mine.slice(0, ROWS_MAX).map((it) => {
    const cell = it[over] ?? {};
    return h(
      "tr",
      {},
      h("th", { scope: "row", text: it.name }),
      h("td", {}, it.drift && drift(it.drift)),
      COLUMNS.map(([, name, told]) => h("td", { class: "num", text: told(cell[name]) })),
    );
  });
  const columns = [["Name"], ["Drift"], ...COLUMNS.map(([title]) => [title, "num"])];
  const title = `By ${String(kind).replaceAll("_", " ")}`;
  return section(title, table(title, columns, h("tbody", {}, rows)));
}

function drift({ drifted, recent, baseline, p }) {
  const node = badge(drifted ? "drifted" : "steady", drifted ? "warn" : tone("ok"));
  node.title = `recent ${recent}, baseline ${baseline}, p ${p}`;
  return node;
}
