// One case: the drawing of its steps, each step, every attempt in time, what people said, and the result.

import { segment } from "../api.js";
import { throttle } from "../batch.js";
import { h, part } from "../dom.js";
import { link } from "../router.js";
import { button, facts, field, guarded, heading, section, time, value } from "../ui/basics.js";
import { beside, result, steps, summary, timeline } from "../ui/caseparts.js";
import { dag } from "../ui/dag.js";
import { ask } from "../ui/dialog.js";
import { empty, loader } from "../ui/states.js";

const RELOAD_MS = 1500;

export const page = {
  title: (route) => `Case ${route.path[1]}`,
  mount(root, context) {
    const id = route(context);
    const actions = h("div", { class: "actions" });
    const rooms = Object.fromEntries(
      ["top", "graph", "steps", "output", "event", "timeline", "more"].map((name) => [
        name,
        h("div"),
      ]),
    );
    const body = h(
      "div",
      { class: "stack" },
      rooms.top,
      section("Workflow", rooms.graph),
      section("Steps", rooms.steps),
      h(
        "div",
        { class: "columns" },
        section("Timeline", rooms.timeline),
        h(
          "div",
          { class: "stack" },
          section("Result", rooms.output),
          section("Event", rooms.event),
          rooms.more,
        ),
      ),
    );
    const draw = {
      actions: part(actions, (view) => tools(view, context, load)),
      top: part(rooms.top, (view) => summary(view, context)),
      graph: part(rooms.graph, (steps) =>
        steps.length
          ? dag(steps, (name) => link(["cases", id], { step: name }))
          : empty("No step is known any more."),
      ),
      steps: part(rooms.steps, (view) => steps(view, context)),
      output: part(rooms.output, result),
      event: part(rooms.event, (event) =>
        event
          ? [
              facts([
                ["Type", event.type],
                ["Id", event.id],
                ["Source", event.source],
                ["Time", time(event.time)],
              ]),
              value(event.data),
            ]
          : empty("The event is kept no more."),
      ),
      timeline: part(rooms.timeline, timeline),
      more: part(rooms.more, (view) => beside(view)),
    };
    const show = (view) => {
      draw.actions({ status: view.status, closed: view.closed_at });
      draw.top(view);
      draw.graph(view.steps);
      draw.steps({ steps: view.steps, opened_at: view.opened_at, closed_at: view.closed_at });
      draw.output({
        output: view.output,
        results: view.results,
        degraded: view.degraded,
        undone: view.undone,
        closed_at: view.closed_at,
      });
      draw.event(view.event);
      draw.timeline({ moments: view.timeline, opened_at: view.opened_at });
      draw.more({ approvals: view.approvals, letters: view.letters, feedback: view.feedback });
      reveal(body, context);
    };
    rooms.graph.addEventListener("click", (event) => {
      const node = event.target.closest("a.node");
      if (!node || event.ctrlKey || event.metaKey) return;
      event.preventDefault();
      open(body, node.dataset.step);
      context.query({ step: node.dataset.step });
    });
    const room = h("div");
    const title = heading("Case ");
    title.querySelector("h1").append(h("code", { text: id }));
    title.querySelector(".actions").append(actions);
    root.append(title, room);
    const load = loader({
      root: room,
      body,
      what: "the case",
      context,
      fetch: (signal) => context.api.get(`/cases/${segment(id)}`, {}, signal),
      draw: show,
    });
    load();
    const again = throttle(() => context.signal.aborted || load(), RELOAD_MS);
    const mine = (line) => line.case_id === id && again();
    context.live.want([`case:${id}`], { case: mine, approval: mine, resync: again, poll: again });
  },
};

function route(context) {
  return context.route.path[1];
}

function tools(view, context, load) {
  if (view.closed) return [];
  return guarded(
    button("Cancel case", () => cancel(context, load), { kind: "danger" }),
    context,
    "operate",
  );
}

async function cancel(context, load) {
  const id = route(context);
  const why = h("input", { name: "why", maxlength: "500" });
  const sure = await ask({
    title: "Cancel this case?",
    body: [
      h("p", {
        text: "Steps that run are abandoned, steps with an undo are undone, and the case ends with the result “cancelled”. This cannot be taken back.",
      }),
      field("Reason (stands in the result)", why),
    ],
    confirm: "Cancel the case",
    danger: true,
    read: () => ({ why: why.value.trim() }),
  });
  if (!sure) return;
  try {
    await context.api.post(`/cases/${segment(id)}/cancel`, sure.why ? { reason: sure.why } : {});
    context.toast("The case is being cancelled.");
    load();
  } catch (error) {
    context.toast(`Not cancelled: ${error.message}`, "bad");
  }
}

/** The step that the address names, once. */
function reveal(body, context) {
  const { step } = context.route.query;
  if (step && !body.dataset.revealed && open(body, step)) body.dataset.revealed = "1";
}

function open(body, name) {
  const step = [...body.querySelectorAll("details.step")].find((it) => it.id === `step-${name}`);
  if (!step) return false;
  step.open = true;
  step.querySelector("summary").focus({ preventScroll: true });
  step.scrollIntoView({ block: "center" });
  return true;
}
