// How everything stands: numbers, the last minute, what a person should look at, the latest cases.

import { createBatch, throttle } from "../batch.js";
import { h, KeyedList, part, text } from "../dom.js";
import { count, ms, seconds, usd } from "../format.js";
import { link } from "../router.js";
import { badge, heading, section, time } from "../ui/basics.js";
import { caseRow } from "../ui/caserow.js";
import { throughput } from "../ui/chart.js";
import { derived, drawAttention } from "../ui/attention.js";
import { empty, loader } from "../ui/states.js";

const LATEST = 12;
const LATEST_MS = 500;
const ATTENTION_MS = 30_000;

export const page = {
  title: () => "Overview",
  mount(root, context) {
    const chart = throughput();
    const tiles = numbers();
    const statuses = h("div");
    const breakers = h("div");
    const agents = h("div");
    const attention = h("div");
    const latest = recent();
    const show = parts({
      chart,
      tiles,
      statuses: part(statuses, drawStatuses),
      breakers: part(breakers, drawBreakers),
      agents: part(agents, drawAgents),
    });
    const showAttention = part(attention, (data) => drawAttention(data, context));

    const seen = (view) => {
      show(view);
      if (!listed) showAttention({ items: derived(view) });
    };

    const body = h(
      "div",
      { class: "stack" },
      tiles.node,
      h(
        "div",
        { class: "columns wide-left" },
        h(
          "div",
          { class: "stack" },
          section("Throughput", chart.node, statuses),
          section("Latest cases", latest.node),
        ),
        h(
          "div",
          { class: "stack" },
          section("Needs a person", attention),
          section("Breakers", breakers),
          section("Agents", agents),
        ),
      ),
    );
    const room = h("div");
    root.append(heading("Overview"), room);

    const load = loader({
      root: room,
      body,
      what: "the overview",
      context,
      fetch: (signal) => context.api.get("/overview", {}, signal),
      draw: seen,
    });
    let listed = false;
    const look = async () => {
      try {
        const { items, left_out, missing } = await context.api.get(
          "/attention",
          {},
          context.signal,
        );
        listed = true;
        showAttention({ items, left_out, missing });
      } catch (error) {
        if (context.signal.aborted || error.status === 404) return;
        listed = true;
        showAttention({ gone: error.message });
      }
    };
    const fill = async () => {
      try {
        latest.set((await context.api.get("/cases", { limit: LATEST }, context.signal)).items);
      } catch {
        // The overview itself says what is wrong.
      }
    };
    const all = () => {
      load();
      look();
      fill();
    };
    all();
    const timer = setInterval(look, ATTENTION_MS);
    context.signal.addEventListener("abort", () => clearInterval(timer));
    context.live.want(["overview", "cases"], {
      overview: seen,
      case: latest.push,
      resync: all,
      poll: all,
      alert: throttle(look, 2000),
    });
  },
};

function parts({ chart, tiles, statuses, breakers, agents }) {
  let next = null;
  const draw = () => {
    const view = next;
    next = null;
    tiles.update(view);
    chart.update(view.per_second);
    statuses(view.by_status);
    breakers(view.breakers);
    agents(view.agents);
  };
  return (view) => {
    if (!next) requestAnimationFrame(draw);
    next = view;
  };
}

/** The tiles on top; each `[label, href, told(view) -> [value, note, tone]]`. */
const TILES = [
  [
    "Open cases",
    link(["cases"], { status: "open" }),
    (v) => [count(v.cases_open), `${count(sum(v.by_status))} in 24 h`],
  ],
  ["Latency, p50", null, (v) => [ms(v.p50_ms), `p99 ${ms(v.p99_ms)}, last 5 min`]],
  ["Spent today", link(["spend"]), (v) => [usd(v.usd_today), `${usd(v.usd_per_hour)} an hour`]],
  [
    "Approvals",
    link(["approvals"]),
    (v) => [
      count(v.approvals_open),
      v.approvals_expiring ? `${count(v.approvals_expiring)} expiring` : "none expiring",
      v.approvals_expiring ? "warn" : "",
    ],
  ],
  [
    "Dead letters",
    link(["letters"]),
    (v) => [count(v.letters_waiting), "waiting", v.letters_waiting ? "bad" : ""],
  ],
  [
    "Behind Kafka",
    null,
    (v) => [
      seconds(v.behind.seconds),
      v.behind.ready ? `${count(v.behind.records)} records` : "still catching up",
      v.behind.ready && v.behind.seconds < 10 ? "" : "warn",
    ],
  ],
];

function sum(counts) {
  return Object.values(counts ?? {}).reduce((total, value) => total + value, 0);
}

function numbers() {
  const rows = TILES.map(([label, href, told]) => {
    const value = h("span", { class: "figure" });
    const note = h("span", { class: "note" });
    const inner = [h("span", { class: "label", text: label }), value, note];
    return {
      node: href ? h("a", { class: "tile", href }, inner) : h("div", { class: "tile" }, inner),
      value,
      note,
      told,
    };
  });
  const update = (view) => {
    for (const row of rows) {
      const [value, note, tone = ""] = row.told(view);
      text(row.value, value);
      text(row.note, note);
      row.node.dataset.tone = tone;
    }
  };
  return {
    node: h(
      "div",
      { class: "tiles" },
      rows.map((row) => row.node),
    ),
    update,
  };
}

function drawStatuses(counts) {
  const pairs = Object.entries(counts ?? {}).filter(([, value]) => value);
  if (!pairs.length) return h("p", { class: "quiet-text", text: "No case in the last 24 hours." });
  return h(
    "ul",
    { class: "inline", "aria-label": "Cases of the last 24 hours by status" },
    pairs.map(([status, value]) =>
      h("li", {}, h("a", { href: link(["cases"], { status }) }, badge(status), ` ${count(value)}`)),
    ),
  );
}

function drawBreakers(list) {
  if (!list?.length) return h("p", { class: "quiet-text", text: "No breaker has moved." });
  return h(
    "ul",
    { class: "rows" },
    list.map((it) =>
      h(
        "li",
        {},
        h("a", { href: link(["agents"]) }, h("strong", { text: it.dependency })),
        badge(it.state, it.state === "closed" ? "ok" : it.state === "open" ? "bad" : "warn"),
        h("span", { class: "end" }, time(it.since)),
      ),
    ),
  );
}

function drawAgents(list) {
  if (!list?.length) return h("p", { class: "quiet-text", text: "No agent has worked yet." });
  return h(
    "ul",
    { class: "rows" },
    list.slice(0, 12).map((it) =>
      h(
        "li",
        {},
        h("a", { href: link(["agents"]) }, h("strong", { text: it.agent })),
        it.paused && badge("paused"),
        it.failed_5m > 0 && badge(`${count(it.failed_5m)} failed`, "bad"),
        h("span", {
          class: "end",
          text: `${count(it.tasks_5m)} in 5 min · p99 ${ms(it.p99_ms)}`,
        }),
      ),
    ),
  );
}

/** The newest cases; a flood of them moves the list twice a second, and not while it is used. */
function recent() {
  const list = h("ul", { class: "case-list", "aria-label": "Latest cases" });
  const none = empty(
    "No case yet.",
    "Publish an event: POST /api/v1/events, or caseworks publish.",
  );
  const node = h("div", {}, list, none);
  const rows = new KeyedList(list, { key: (line) => line.case_id, make: caseRow, max: LATEST });
  const known = new Map();
  const draw = throttle(() => {
    const all = [...known.values()].sort(newestFirst);
    for (const line of all.splice(LATEST)) known.delete(line.case_id);
    const used = node.matches(":hover, :focus-within") && rows.rows.size === LATEST;
    rows.set(
      used ? [...rows.rows.keys()].map((id) => known.get(id) ?? rows.rows.get(id).item) : all,
    );
    none.hidden = all.length > 0;
  }, LATEST_MS);
  const take = (lines) => {
    for (const line of lines) known.set(line.case_id, { ...known.get(line.case_id), ...line });
    draw();
  };
  const batch = createBatch({ key: (line) => line.case_id, apply: take, max: 200 });
  return { node, set: take, push: batch.push };
}

function newestFirst(a, b) {
  return (b.opened_at ?? "").localeCompare(a.opened_at ?? "") || a.case_id.localeCompare(b.case_id);
}
