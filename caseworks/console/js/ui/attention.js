// What a person should look at now, each with the command that mends it: as the server lists it, else
// what the overview alone gives away.

import { h } from "../dom.js";
import { count } from "../format.js";
import { link } from "../router.js";
import { badge, copyable, time } from "./basics.js";
import { empty } from "./states.js";

const ATTENTION_MAX = 20;

/** What an overview says by itself, where nobody lists what needs a person. */
export function derived(view) {
  const breakers = view.breakers
    .filter((it) => it.state !== "closed")
    .map((it) => ({
      kind: "breaker",
      severity: "critical",
      what: `${it.dependency} is ${it.state.replace("_", " ")}: its tasks wait`,
      since: it.since,
      command: "caseworks breaker list",
      page: "agents",
    }));
  const paused = view.agents
    .filter((it) => it.paused)
    .map((it) => ({
      kind: "paused",
      what: `${it.agent} takes no tasks`,
      command: `caseworks agent resume ${it.agent}`,
      page: "agents",
    }));
  const expiring = view.approvals_expiring && {
    kind: "approvals",
    what: many(view.approvals_expiring, "approval expires soon", "approvals expire soon"),
    command: "caseworks approvals list",
    page: "approvals",
  };
  const letters = view.letters_waiting && {
    kind: "dead letters",
    severity: "critical",
    what: many(view.letters_waiting, "dead letter waits", "dead letters wait"),
    command: "caseworks dlq list",
    page: "letters",
  };
  return [...breakers, expiring, letters, ...paused].filter(Boolean);
}

function many(number, one, more) {
  return `${count(number)} ${number === 1 ? one : more}`;
}

/** The list of the server (`items`, `left_out`, `missing`), or why there is none (`gone`). */
export function drawAttention({ items = [], left_out: left = {}, missing = [], gone }, context) {
  if (gone) return h("p", { class: "quiet-text", text: `The list cannot be read: ${gone}` });
  const shown = items.slice(0, ATTENTION_MAX);
  const rest = Object.values(left).reduce((sum, more) => sum + more, items.length - shown.length);
  return [
    shown.length
      ? h(
          "ol",
          { class: "attention" },
          shown.map((it) => look(it, context)),
        )
      : empty("Nothing needs a person now."),
    rest > 0 && h("p", { class: "quiet-text", text: `${count(rest)} more: caseworks attention` }),
    missing.map((what) => h("p", { class: "quiet-text", text: `Not looked at: ${what}` })),
  ];
}

const SEVERITIES = { __proto__: null, critical: "bad", warning: "warn", info: "info" };

function look(it, context) {
  const href = target(it);
  return h(
    "li",
    {},
    h(
      "div",
      {},
      badge(it.kind, SEVERITIES[it.severity] ?? "warn"),
      it.since && h("span", { class: "end" }, time(it.since)),
    ),
    href ? h("a", { href, text: it.what }) : h("strong", { text: it.what }),
    it.why && h("p", { text: it.why }),
    it.command && copyable(it.command, context, { label: "command" }),
  );
}

function target(it) {
  if (it.approval_id) return link(["approvals"], { id: it.approval_id });
  if (it.case_id) return link(["cases", it.case_id]);
  if (it.page) return link([it.page]);
  return it.agent ? link(["agents"]) : null;
}
