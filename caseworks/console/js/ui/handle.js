// Putting dead letters back, or away: the reason, then a dry run, then what it found, then the thing
// itself. A dry run writes nothing; what it says is what the server would do now.

import { h, swap } from "../dom.js";
import { count, usd } from "../format.js";
import { parsed } from "../json.js";
import { badge, field, table } from "./basics.js";
import { ask } from "./dialog.js";
import { explained } from "./states.js";

const ROWS_MAX = 100;
const CHANGES_MAX = 5;
const LETTERS_MAX = 1000; // what the server does in one go
const PATHS = { replay: "/letters/replay", drop: "/letters/drop" };
const WORDS = {
  replay: ["Replay", "go back to where they died", "Replayed"],
  drop: ["Drop", "be dropped, and a case that waits for one fails", "Dropped"],
};

/**
 * `action` is "replay" or "drop"; `which` is `{places}` or filters or `{all: true}`; `change` may
 * hold a `patch` or an `edit`. Resolves to the server's answer, or null when nothing was done.
 */
export async function handle(action, which, context, change = {}) {
  const [verb, , past] = WORDS[action];
  const order = await asked(action, which, change);
  if (!order) return null;
  let plan;
  try {
    plan = await context.api.post(PATHS[action], { ...order, dry_run: true });
  } catch (error) {
    context.toast(`The dry run was refused: ${explained(error).detail}`, "bad");
    return null;
  }
  const sure = await ask({
    title: `${verb} ${letters(plan.done)}?`,
    body: foretold(action, plan),
    confirm: plan.done ? `${verb} ${letters(plan.done)}` : null,
    danger: action === "drop",
    wide: true,
  });
  if (!sure || !plan.done) return null;
  try {
    const answer = await context.api.post(PATHS[action], { ...order, dry_run: false });
    const refused = total(answer.refused);
    context.toast(
      `${past}: ${letters(answer.done)}${refused ? `, ${count(refused)} refused` : ""}`,
      refused ? "warn" : "ok",
    );
    return answer;
  } catch (error) {
    context.toast(`Not done: ${explained(error).detail}`, "bad");
    return null;
  }
}

/** What to send: which letters, why, and for many a patch. */
async function asked(action, which, change) {
  const one = which.places?.length === 1;
  const must = action === "drop" || !one;
  const changed = Object.keys(change).length > 0;
  const why = h("input", { name: "why", maxlength: "500", required: must });
  const patch = h("textarea", {
    name: "patch",
    rows: "4",
    class: "code",
    spellcheck: "false",
    placeholder: '{"field": "the right value", "gone": null}',
  });
  const error = h("p", { class: "error-text", role: "alert" });
  const said = await ask({
    title: `${WORDS[action][0]} ${one ? "this dead letter" : "dead letters"}`,
    body: [
      h("p", {
        text: `First a dry run: nothing is written, and you see what would ${WORDS[action][1]}.`,
      }),
      field(must ? "Reason (stands in the audit)" : "Reason (optional, for the audit)", why),
      action === "replay" &&
        !changed &&
        !one &&
        field("JSON merge patch of what agents get (optional)", patch),
      error,
    ],
    confirm: "Dry run",
    focus: why,
    read: () => {
      if (!patch.value.trim()) return {};
      const value = parsed(patch.value);
      if (value !== undefined) return { patch: value };
      swap(error, "The patch is no JSON.");
      return null;
    },
  });
  if (!said) return null;
  const reason = why.value.trim();
  const bound = one ? {} : { limit: LETTERS_MAX };
  return { ...which, ...change, ...said, ...bound, ...(reason ? { why: reason } : {}) };
}

function foretold(action, plan) {
  const refused = Object.entries(plan.refused ?? {});
  const saved = plan.saved ?? {};
  return [
    h("p", {
      text: plan.done
        ? `${letters(plan.done)} would ${WORDS[action][1]}.`
        : "Nothing would be done: see why below.",
    }),
    action === "replay" &&
      plan.done > 0 &&
      h("p", { text: "Each has one effect, also when somebody else replays it at the same time." }),
    refused.length > 0 &&
      h(
        "p",
        {},
        "Refused: ",
        refused.map(([reason, many]) => [badge(`${reason} ${count(many)}`, "bad"), " "]),
      ),
    saved.steps > 0 &&
      h("p", {
        class: "quiet-text",
        text: `Not done again: ${count(saved.steps)} steps, ${count(saved.tokens)} tokens, ${usd(saved.usd)}.`,
      }),
    (plan.remarks ?? []).map((remark) => h("p", { class: "quiet-text", text: remark })),
    rows(plan.letters ?? []),
    (plan.letters ?? [])
      .filter((it) => it.changed)
      .slice(0, CHANGES_MAX)
      .map(change),
  ];
}

function rows(list) {
  if (!list.length) return null;
  const shown = list.slice(0, ROWS_MAX).map((it) =>
    h(
      "tr",
      {},
      h("td", {}, h("code", { text: it.id })),
      h("td", {}, it.refused ? badge(it.refused, "bad") : badge("would", "ok")),
      h("td", {
        class: "long",
        title: it.why ?? it.does,
        text: it.why ?? it.does ?? it.to ?? "",
      }),
    ),
  );
  return [
    table("What the dry run found", [["Letter"], ["Outcome"], ["What"]], h("tbody", {}, shown)),
    list.length > ROWS_MAX &&
      h("p", { text: `${count(list.length - ROWS_MAX)} more are not shown.` }),
  ];
}

/** The server tells changes as a unified diff. */
function change(it) {
  const kinds = { "+": "come", "-": "gone" };
  const lines = it.changed.split("\n").filter((line) => !/^(---|\+\+\+|@@)/.test(line));
  return h(
    "div",
    { class: "diff", role: "group", tabindex: "0", "aria-label": `What changes in ${it.id}` },
    lines.map((line) =>
      h(
        "div",
        { class: kinds[line[0]] ?? "kept" },
        h("span", { class: "mark", text: line[0] }),
        h("span", { text: line.slice(1) || " " }),
      ),
    ),
  );
}

function total(counts) {
  return Object.values(counts ?? {}).reduce((sum, many) => sum + many, 0);
}

function letters(many) {
  return `${count(many)} ${many === 1 ? "dead letter" : "dead letters"}`;
}
