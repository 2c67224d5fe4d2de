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
    what: `${count(view.approvals_expiring)} approvals expire soon`,
    command: "caseworks approvals list",
    page: "approvals",
  };
  const letters = view.letters_waiting && {
    kind: "dead letters",
    severity: "critical",
    what: `${count(view.letters_waiting)} dead letters wait`,
    command: "caseworks dlq list",
    page: "letters",
  };
  return [...breakers, expiring, letters, ...paused].filter(Boolean);
}

export function drawAttention({ items, gone }, context) {
  if (gone) return h("p", { class: "quiet-text", text: `The list cannot be read: ${gone}` });
  if (!items.length) return empty("Nothing needs a person now.");
  const shown = items.slice(0, ATTENTION_MAX);
  return [
    h(
      "ol",
      { class: "attention" },
      shown.map((it) => look(it, context)),
    ),
    items.length > shown.length &&
      h("p", {
        class: "quiet-text",
        text: `${count(items.length - shown.length)} more: caseworks attention`,
      }),
  ];
}

const SEVERITIES = {
  __proto__: null,
  critical: "bad",
  high: "bad",
  page: "bad",
  error: "bad",
  info: "info",
};

function look(it, context) {
  const href = target(it);
  const what = String(it.what ?? it.title ?? it.summary ?? it.kind ?? "Something");
  return h(
    "li",
    {},
    h(
      "div",
      {},
      badge(it.kind ?? it.severity ?? "look", SEVERITIES[it.severity] ?? "warn"),
      it.since && h("span", { class: "end" }, time(it.since)),
    ),
    href ? h("a", { href, text: what }) : h("strong", { text: what }),
    (it.why ?? it.detail) && h("p", { text: it.why ?? it.detail }),
    it.command && copyable(it.command, context, { label: "command" }),
  );
}

function target(it) {
  if (it.page) return link([it.page]);
  if (it.approval_id) return link(["approvals"], { id: it.approval_id });
  if (it.letter_id) return link(["letters", it.letter_id]);
  if (it.case_id) return link(["cases", it.case_id]);
  return it.agent ? link(["agents"]) : null;
}
