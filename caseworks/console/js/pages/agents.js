// Who works: versions, health, latency; pausing them; and the breakers of what they call.

import { segment } from "../api.js";
import { throttle } from "../batch.js";
import { h, part } from "../dom.js";
import { count, ms } from "../format.js";
import {
  badge,
  button,
  cell,
  field,
  guarded,
  heading,
  section,
  table,
  time,
} from "../ui/basics.js";
import { anything } from "../ui/anything.js";
import { ask, tell } from "../ui/dialog.js";
import { empty, loader } from "../ui/states.js";

const DOES = {
  pause: [
    "Pause this agent?",
    "No worker starts a task of it any more; tasks wait in Kafka, and no attempt is burnt. Tasks that run end.",
    "Pause",
  ],
  resume: [
    "Resume this agent?",
    "Workers take its tasks again, also all that has waited.",
    "Resume",
  ],
  open: [
    "Open this breaker by hand?",
    "Tasks of agents that call it wait until it is closed, whatever the probes say.",
    "Open",
  ],
  close: [
    "Close this breaker by hand?",
    "Its tasks are worked on at once, also when what they call is still down; it may open again by itself.",
    "Close",
  ],
  hold: [
    "Hold this breaker?",
    "It stays as it is, whatever the probes say, until it is released.",
    "Hold",
  ],
  release: ["Release this breaker?", "It follows its probes again.", "Release"],
};

export const page = {
  title: () => "Agents",
  mount(root, context) {
    const rows = h("tbody");
    const none = h("div");
    const breakers = h("div");
    const act = async (path, what, name) => {
      const [title, does, confirm] = DOES[what];
      const why = h("input", { name: "why", maxlength: "500" });
      const sure = await ask({
        title,
        body: [
          h("p", {}, h("strong", { text: name }), `: ${does}`),
          field("Reason (stands in the audit)", why),
        ],
        confirm,
        danger: what === "pause" || what === "open",
        read: () => ({ why: why.value.trim() }),
      });
      if (!sure) return;
      try {
        await context.api.post(path, sure.why ? { why: sure.why } : {});
        context.toast(`${confirm}: ${name} – it takes a moment to reach every worker.`, "ok");
        load();
      } catch (error) {
        context.toast(`Not done: ${error.message}`, "bad");
      }
    };
    const showRows = part(rows, (list) => list.map((it) => row(it, context, act)));
    const showNone = part(
      none,
      (many) =>
        many === 0 && empty("No agent has worked yet.", "They appear with their first task."),
    );
    const showBreakers = part(breakers, (list) => drawBreakers(list, context, act));
    const draw = ({ agents, breakers: list }) => {
      showRows(agents);
      showNone(agents.length);
      showBreakers(list);
    };
    const room = h("div");
    const body = h(
      "div",
      { class: "stack" },
      section(
        "Agents",
        table(
          "Agents",
          [
            ["Agent"],
            ["Versions"],
            ["State"],
            ["Tasks, 5 min", "num"],
            ["Failed", "num"],
            ["p50", "num"],
            ["p99", "num"],
            ["Actions"],
          ],
          rows,
          { stack: true },
        ),
        none,
      ),
      section("Breakers", breakers),
    );
    root.append(heading("Agents"), room);
    const load = loader({
      root: room,
      body,
      what: "agents",
      context,
      draw,
      fetch: async (signal) => {
        const [agents, list] = await Promise.all([
          context.api.get("/agents", {}, signal),
          context.api.get("/breakers", {}, signal),
        ]);
        return {
          agents: agents.items.map((it) => ({ ...it.recent, ...it })),
          breakers: list.items,
        };
      },
    });
    load();
    const again = throttle(() => context.signal.aborted || load(), 10_000);
    let before = "";
    const watched = (view) => {
      const now = JSON.stringify([
        view.breakers,
        view.agents.map((it) => [it.agent, it.paused, it.versions]),
      ]);
      if (before !== now) load();
      else again();
      before = now;
    };
    context.live.want(["overview"], { overview: watched, resync: load, poll: load });
  },
};

function row(it, context, act) {
  const path = `/agents/${segment(it.agent)}`;
  const health = async () => {
    try {
      tell(
        `Health of ${it.agent}`,
        anything(await context.api.get(`${path}/health`, {}, context.signal)),
      );
    } catch (error) {
      context.toast(error.message, "bad");
    }
  };
  const bad = it.failed_5m > 0;
  return h(
    "tr",
    {},
    h("th", { scope: "row", text: it.agent }),
    cell("Version", { text: (it.versions?.length ? it.versions : [it.version]).join(", ") }),
    h(
      "td",
      {},
      it.paused ? badge("paused") : badge("running", "ok"),
      it.breaker && it.breaker !== "closed" && [" ", badge(`breaker ${it.breaker}`, "bad")],
    ),
    cell("Tasks, 5 min", { class: "num", text: count(it.tasks_5m) }),
    cell("Failed", { class: `num${bad ? " bad-text" : ""}`, text: count(it.failed_5m) }),
    cell("p50", { class: "num", text: ms(it.p50_ms) }),
    cell("p99", { class: "num", text: ms(it.p99_ms) }),
    h(
      "td",
      {},
      h(
        "div",
        { class: "actions" },
        button("Health", health, {
          id: `health-${it.agent}`,
          "aria-label": `Health of ${it.agent}`,
        }),
        it.paused
          ? guarded(
              button("Resume", () => act(`${path}/resume`, "resume", it.agent), {
                id: `pause-${it.agent}`,
                "aria-label": `Resume ${it.agent}`,
              }),
              context,
              "operate",
            )
          : guarded(
              button("Pause", () => act(`${path}/pause`, "pause", it.agent), {
                id: `pause-${it.agent}`,
                "aria-label": `Pause ${it.agent}`,
              }),
              context,
              "operate",
            ),
      ),
    ),
  );
}

function drawBreakers(list, context, act) {
  if (!list.length)
    return empty("No breaker has moved.", "They appear when what an agent calls fails.");
  return h(
    "ul",
    { class: "rows" },
    list.map((it) => {
      const path = `/breakers/${segment(it.dependency)}`;
      const closed = it.state === "closed";
      const doing = (what, label) =>
        guarded(
          button(label, () => act(`${path}/${what}`, what, it.dependency), {
            id: `${what}-${it.dependency}`,
            "aria-label": `${label} ${it.dependency}`,
          }),
          context,
          "operate",
        );
      return h(
        "li",
        {},
        h("strong", { text: it.dependency }),
        badge(it.state, closed ? "ok" : it.state === "open" ? "bad" : "warn"),
        it.held && badge("held"),
        it.reason &&
          h("span", { class: "quiet-text", text: it.by ? `${it.reason} (${it.by})` : it.reason }),
        h("span", { class: "end" }, time(it.since ?? it.at)),
        h(
          "span",
          { class: "actions" },
          closed ? doing("open", "Open") : doing("close", "Close"),
          it.held ? doing("release", "Release") : doing("hold", "Hold"),
        ),
      );
    }),
  );
}
