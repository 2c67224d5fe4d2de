// What it costs today: by agent, workflow and tenant, the most first.

import { throttle } from "../batch.js";
import { h, part } from "../dom.js";
import { count, percent, usd } from "../format.js";
import { heading, section, table, time } from "../ui/basics.js";
import { share } from "../ui/chart.js";
import { empty, loader } from "../ui/states.js";

const BY = ["agent", "workflow", "tenant"];
const ROWS_MAX = 100;
const RELOAD_MS = 15_000;

export const page = {
  title: () => "Spend",
  mount(root, context) {
    const sums = h("div");
    const tables = h("div", { class: "stack" });
    const showSums = part(sums, drawSums);
    const showTables = part(tables, (answers) => answers.map(drawTable));
    const room = h("div");
    root.append(heading("Spend"), room);
    const load = loader({
      root: room,
      body: h("div", { class: "stack" }, sums, tables),
      what: "spend",
      context,
      fetch: (signal) => Promise.all(BY.map((by) => asked(by, context, signal))),
      draw: (answers) => showTables(answers.filter(Boolean)),
    });
    load();
    const again = throttle(() => context.signal.aborted || load(), RELOAD_MS);
    context.live.want(["overview"], {
      overview: (view) => {
        showSums({ today: view.usd_today, hour: view.usd_per_hour });
        again();
      },
      resync: again,
      poll: again,
    });
  },
};

/** A key of one tenant sees its own spend alone: what it may not see is no error. */
async function asked(by, context, signal) {
  try {
    return await context.api.get("/budgets", { by }, signal);
  } catch (error) {
    if (error.status === 403 && by !== "tenant") return null;
    throw error;
  }
}

function drawSums({ today, hour }) {
  const rows = [
    ["Spent today", today, "since midnight, UTC"],
    ["An hour, lately", hour, "US dollars"],
  ];
  return h(
    "div",
    { class: "tiles few" },
    rows.map(([label, amount, note]) =>
      h(
        "div",
        { class: "tile" },
        h("span", { class: "label", text: label }),
        h("span", { class: "figure", text: usd(amount) }),
        h("span", { class: "note", text: note }),
      ),
    ),
  );
}

function drawTable({ by, since, items }) {
  if (!items.length) return section(`By ${by}`, empty("Nothing was spent yet."));
  const most = Math.max(...items.map((it) => Number(it.usd)), 0);
  const rows = items.slice(0, ROWS_MAX).map((it) => row(it, most));
  const columns = [
    [by[0].toUpperCase() + by.slice(1)],
    ["Spent", "num"],
    ["Beside the largest"],
    ["Calls", "num"],
    ["Tokens in", "num"],
    ["Tokens out", "num"],
    [by === "agent" ? "Steps" : "Cases", "num"],
  ];
  return section(
    `By ${by}`,
    h("p", { class: "quiet-text" }, "Since ", time(since)),
    table(`Spend by ${by}`, columns, h("tbody", {}, rows)),
  );
}

function row(it, most) {
  const part = most > 0 ? Number(it.usd) / most : 0;
  return h(
    "tr",
    {},
    h("th", { scope: "row", text: it.key || "none" }),
    h("td", { class: "num", text: usd(it.usd) }),
    h("td", {}, most > 0 && share(part, "info", `${percent(part)} of the largest`)),
    [it.calls, it.tokens_in, it.tokens_out, it.cases].map((many) =>
      h("td", { class: "num", text: count(many) }),
    ),
  );
}
