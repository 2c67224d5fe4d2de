// What the page of a case is made of: each part is drawn from its own piece of the view.

import { h } from "../dom.js";
import { absolute, count, ms, offset, percent, stepTone, tone, usd } from "../format.js";
import { link } from "../router.js";
import { badge, copyable, facts, section, time, value } from "./basics.js";
import { span } from "./chart.js";
import { empty } from "./states.js";

const MOMENTS_MAX = 500;

export function summary(view, context) {
  const took =
    view.closed_at && view.opened_at
      ? Date.parse(view.closed_at) - Date.parse(view.opened_at)
      : null;
  return h(
    "div",
    { class: "card summary" },
    h("p", { class: "lead" }, badge(view.status), view.reason && h("span", { text: view.reason })),
    facts([
      ["Case", copyable(view.case_id, context, { label: "case id" })],
      view.trace_id && [
        "Trace",
        copyable(view.trace_id, context, { label: "trace id", length: 16 }),
      ],
      ["Workflow", `${view.workflow} ${view.workflow_version ?? ""}`],
      ["Tenant", view.tenant],
      ["Subject", view.subject],
      ["Opened", time(view.opened_at)],
      view.closed_at
        ? ["Closed", h("span", {}, time(view.closed_at), took !== null && ` after ${ms(took)}`)]
        : ["Deadline", time(view.deadline)],
      ["Confidence", percent(view.confidence)],
      [
        "Cost",
        `${usd(view.usage.usd)}, ${count(view.usage.calls)} calls, ${count(view.usage.tokens_in + view.usage.tokens_out)} tokens`,
      ],
    ]),
  );
}

export function steps({ steps: list, opened_at: opened, closed_at: closed }, context) {
  if (!list.length) return empty("No step is known any more.");
  const start = Date.parse(opened);
  const end = Math.max(
    start + 1,
    closed ? Date.parse(closed) : 0,
    ...list.flatMap((step) =>
      [step.first_sent_at, step.ended_at].map((at) => (at ? Date.parse(at) : 0)),
    ),
  );
  return h(
    "div",
    { class: "steps" },
    list.map((step) => one(step, start, end, context)),
  );
}

function one(step, start, end) {
  const from = step.first_sent_at ? (Date.parse(step.first_sent_at) - start) / (end - start) : null;
  const to = step.ended_at ? (Date.parse(step.ended_at) - start) / (end - start) : 1;
  const told = [
    step.agent && `${step.agent}${step.agent_version ? ` ${step.agent_version}` : ""}`,
    step.attempts > 1 && `${step.attempts} attempts`,
    step.iteration > 0 && `round ${step.iteration + 1}`,
    step.items && `${count(step.items.done)} of ${count(step.items.total)} items`,
  ]
    .filter(Boolean)
    .join(" · ");
  return h(
    "details",
    { id: `step-${step.name}`, class: "step" },
    h(
      "summary",
      {},
      badge(step.status, stepTone(step.status)),
      h("strong", { text: step.name }),
      h("span", { class: "told", text: told }),
      h(
        "span",
        { class: "bar-room" },
        from !== null && from >= 0 && span(from, to, stepTone(step.status), `ran ${ms(step.ms)}`),
      ),
      h("span", { class: "num", text: step.ms == null ? "" : ms(step.ms) }),
    ),
    h(
      "div",
      { class: "inside" },
      step.error && h("p", { class: "error-text", text: step.error }),
      facts([
        ["After", (step.after ?? []).join(", ")],
        ["Confidence", percent(step.confidence)],
        [
          "Cost",
          step.usage &&
            `${usd(step.usage.usd)}, ${count(step.usage.calls)} calls, ${count(step.usage.tokens_in)} + ${count(step.usage.tokens_out)} tokens`,
        ],
        ["Sent", time(step.first_sent_at)],
        ["Ended", time(step.ended_at)],
      ]),
      step.input != null && [h("h3", { text: "Input" }), value(step.input)],
      step.output != null && [h("h3", { text: "Output" }), value(step.output)],
      step.sources?.length > 0 && [
        h("h3", { text: "Sources" }),
        h(
          "ul",
          { class: "sources" },
          step.sources
            .slice(0, 100)
            .map((source) =>
              h("li", { text: typeof source === "string" ? source : JSON.stringify(source) }),
            ),
        ),
      ],
    ),
  );
}

export function result({ output, results, degraded, undone, closed_at: closed }) {
  if (!closed && output == null)
    return empty("Not yet.", "The result stands here when the case ends.");
  const parts = (title, of) =>
    of && Object.keys(of).length > 0 && [h("h3", { text: title }), value(of)];
  return [
    output == null
      ? h("p", { class: "quiet-text", text: "It ended without an output." })
      : value(output),
    parts("Degraded: who stood in, and why", degraded),
    parts("Undone", undone),
    results?.length > 0 &&
      h(
        "ul",
        { class: "rows" },
        results.map((it) =>
          h(
            "li",
            {},
            badge(it.status),
            h("code", { text: it.id }),
            it.amends && h("span", { text: `amends ${it.amends}` }),
            h("span", { class: "end" }, time(it.closed_at)),
          ),
        ),
      ),
  ];
}

export function timeline({ moments, opened_at: opened }) {
  if (!moments?.length) return empty("Nothing was written of it yet.");
  return h(
    "ol",
    { class: "timeline" },
    moments.slice(-MOMENTS_MAX).map((it) =>
      h(
        "li",
        { class: stepTone(it.what) },
        h("time", {
          datetime: it.at,
          title: absolute(it.at),
          class: "num",
          text: offset(it.at, opened),
        }),
        badge(it.what, stepTone(it.what)),
        h(
          "span",
          {},
          it.step && h("strong", { text: it.step }),
          it.step && it.detail && " ",
          h("span", { class: "detail", text: it.detail }),
        ),
      ),
    ),
  );
}

export function beside({ approvals, letters, feedback }) {
  return [
    approvals?.length > 0 &&
      section(
        "Approvals",
        h(
          "ul",
          { class: "rows" },
          approvals.map((it) =>
            h(
              "li",
              {},
              badge(it.status, it.status === "open" ? "person" : tone(it.status)),
              h("a", { href: link(["approvals"], { id: it.approval_id }), text: it.step }),
              it.by?.length > 0 && h("span", { text: `by ${it.by.join(", ")}` }),
              h("span", { class: "end" }, time(it.asked_at)),
            ),
          ),
        ),
      ),
    letters?.length > 0 &&
      section(
        "Dead letters",
        h(
          "ul",
          { class: "rows" },
          letters.map((it) =>
            h(
              "li",
              {},
              badge(it.state, it.state === "waiting" ? "bad" : tone(it.state)),
              h("a", { href: link(["letters", it.id]), text: it.reason }),
              h("span", { class: "end" }, time(it.at)),
            ),
          ),
        ),
      ),
    feedback?.length > 0 &&
      section(
        "Feedback",
        h(
          "ul",
          { class: "rows" },
          feedback.map((it) => h("li", {}, value(it))),
        ),
      ),
  ];
}
