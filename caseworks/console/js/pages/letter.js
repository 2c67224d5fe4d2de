// One dead letter: why it died, what it held, how it differs from another, what a replay would do,
// and a replay with something changed.

import { segment } from "../api.js";
import { h, swap } from "../dom.js";
import { count } from "../format.js";
import { canonical, mergePatch, parsed } from "../json.js";
import { link } from "../router.js";
import {
  badge,
  button,
  copyable,
  facts,
  field,
  guarded,
  heading,
  section,
  time,
  value,
} from "../ui/basics.js";
import { timeline } from "../ui/caseparts.js";
import { diff } from "../ui/diff.js";
import { handle } from "../ui/handle.js";
import { empty, loader } from "../ui/states.js";

const DONE = { replay: "replayed", drop: "dropped" };

export const page = {
  title: () => "Dead letter",
  mount(root, context) {
    const id = context.route.path.slice(1).join("/");
    const other = context.route.query.with;
    const body = h("div", { class: "stack" });
    const actions = h("div", { class: "actions" });
    const room = h("div");
    const read = (place, signal) =>
      context.api.get(`/letters/${place.split("/").map(segment).join("/")}`, {}, signal);
    const act = async (action, change) => {
      if (await handle(action, { places: [id] }, context, change)) load();
    };
    const tool = (label, action, kind) =>
      guarded(
        button(label, () => act(action), { kind, id: action }),
        context,
        "operate",
      );
    root.append(heading("Dead letter", actions), room);
    const load = loader({
      root: room,
      body,
      what: "the dead letter",
      context,
      fetch: (signal) => Promise.all([read(id, signal), other ? read(other, signal) : null]),
      draw: ([letter, beside]) => {
        swap(actions, tool("Replay …", "replay", "primary"), tool("Drop …", "drop", "danger"));
        swap(
          body,
          summary(letter, context),
          beside && compared(letter, beside),
          editing(letter, act, context),
          section(
            "What it held",
            letter.value == null ? empty("It has no value.") : value(readable(letter.value)),
          ),
          letter.timeline?.length > 0 &&
            section(
              "Its case",
              timeline({ moments: letter.timeline, opened_at: letter.timeline[0].at }),
            ),
          headers(letter.headers),
        );
      },
    });
    load();
  },
};

function summary(it, context) {
  const state = it.handled ? (DONE[it.handled.action] ?? "handled") : "waiting";
  return h(
    "div",
    { class: "card summary" },
    h(
      "p",
      { class: "lead" },
      badge(state, state === "waiting" ? "bad" : "ok"),
      h("strong", { text: it.reason }),
      h("span", { text: it.error }),
    ),
    it.handled &&
      h(
        "p",
        {},
        `${state} by ${it.handled.by || "somebody"} `,
        time(it.handled.at),
        it.handled.why && `: ${it.handled.why}`,
      ),
    it.replay &&
      h("p", {
        class: it.replay.possible ? "quiet-text" : "error-text",
        text: it.replay.possible
          ? `A replay is possible: ${it.replay.does ?? "it goes back"}.`
          : `No replay: ${it.replay.why}.`,
      }),
    facts([
      ["Place", copyable(it.id, context, { label: "place" })],
      ["Agent", it.agent],
      ["Tenant", it.tenant],
      ["Case", it.case_id && caseOf(it)],
      ["Task", it.task_id && h("code", { text: it.task_id })],
      ["Died", time(it.timestamp ?? it.at)],
      ["Attempts", count(it.attempts)],
      ["Replays", count(it.replays)],
      ["Key", it.key && h("code", { text: it.key })],
    ]),
  );
}

function caseOf(it) {
  const status = it.case_status;
  return h(
    "span",
    {},
    h("a", { href: link(["cases", it.case_id]), text: it.case_id }),
    " ",
    status && badge(status),
  );
}

function readable(held) {
  if (typeof held !== "string") return canonical(held);
  const read = parsed(held);
  return read === undefined ? held : canonical(read);
}

function headers(of) {
  const pairs = Array.isArray(of) ? of : Object.entries(of ?? {});
  return pairs.length > 0 && section("Headers", facts(pairs));
}

function compared(a, b) {
  const [here, there] = [a, b].map((it) =>
    [
      `reason: ${it.reason}`,
      `error: ${it.error}`,
      `agent: ${it.agent ?? ""}`,
      readable(it.value ?? ""),
    ].join("\n"),
  );
  return section(
    "Compared",
    h(
      "p",
      {},
      h("span", { class: "gone-key", text: `− ${b.id}` }),
      " ",
      h("span", { class: "come-key", text: `+ ${a.id}` }),
    ),
    diff(there, here, "Difference of the two letters"),
  );
}

/** An editor of what may be changed; of a task a merge patch goes out, else the whole new value. */
function editing(letter, act, context) {
  const before = typeof letter.editable === "string" ? parsed(letter.editable) : letter.editable;
  if (before === undefined || before === null) return null;
  const input = h("textarea", {
    rows: "12",
    spellcheck: "false",
    class: "code",
    id: "edit",
    "aria-describedby": "edit-error",
  });
  input.value = canonical(before);
  const error = h("p", { class: "error-text", id: "edit-error", role: "alert" });
  const room = h("div");
  const show = () => {
    const now = parsed(input.value);
    swap(error, now === undefined && "This is no JSON yet.");
    if (now === undefined) return;
    const patch = patchOf(before, now);
    swap(
      room,
      diff(canonical(before), canonical(now), "What the edit changes"),
      patch !== undefined && [h("h3", { text: "As a JSON merge patch" }), value(patch)],
    );
  };
  input.addEventListener("input", show);
  const go = () => {
    const now = parsed(input.value);
    if (now === undefined) return;
    const patch = patchOf(before, now);
    if (canonical(now) === canonical(before)) swap(error, "Nothing was changed: use Replay.");
    else act("replay", letter.task_id && patch !== undefined ? { patch } : { edit: now });
  };
  return section(
    "Edit and replay",
    h(
      "details",
      { id: "editing" },
      h("summary", { text: "Change what goes back" }),
      field(letter.task_id ? "What the agent gets" : "The event", input),
      error,
      room,
      h(
        "div",
        { class: "actions" },
        guarded(button("Replay as edited …", go, { id: "replay-edited" }), context, "operate"),
      ),
    ),
  );
}

/** The merge patch, or nothing where a patch cannot say it. */
function patchOf(before, now) {
  try {
    return mergePatch(before, now);
  } catch {
    return undefined;
  }
}
