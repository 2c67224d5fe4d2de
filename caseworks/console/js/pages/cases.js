// All cases: filtered, a page at a time, live where they stand.

import { createBatch } from "../batch.js";
import { h, KeyedList, swap, text } from "../dom.js";
import { count } from "../format.js";
import { button, choice, field, heading } from "../ui/basics.js";
import { caseRow } from "../ui/caserow.js";
import { rover } from "../ui/rover.js";
import { empty, loader } from "../ui/states.js";

const STATUSES = [
  "open",
  "waiting",
  "parked",
  "undoing",
  "completed",
  "degraded",
  "escalated",
  "failed",
  "expired",
  "cancelled",
];
const PAGE = 50;
const ROWS_MAX = 500;

export const page = {
  title: () => "Cases",
  mount(root, context) {
    const chosen = { ...context.route.query };
    const list = h("ul", { class: "case-list", "aria-label": "Cases" });
    const rows = new KeyedList(list, { key: (line) => line.case_id, make: caseRow, max: ROWS_MAX });
    const fresh = new Set();
    const more = h("div", { class: "more" });
    const none = h("div");
    const news = button("", () => load(), { kind: "primary", hidden: true });
    const told = h("p", { class: "quiet-text", role: "status" });
    let shown = [];
    let next = null;

    const draw = () => {
      rows.set(shown);
      text(
        told,
        shown.length ? `${count(shown.length)} shown${next ? ", there are more" : ""}` : "",
      );
      swap(
        none,
        !shown.length &&
          (Object.values(chosen).some(Boolean)
            ? empty("No case fits this filter.", "Take a word away, or ask for another status.")
            : empty(
                "No case yet.",
                "Publish an event: POST /api/v1/events, or caseworks publish.",
              )),
      );
      swap(more, next && shown.length < ROWS_MAX && button("Load more", follow));
    };
    const head = ({ items, next: cursor }) => {
      shown = items;
      next = cursor;
      fresh.clear();
      news.hidden = true;
      draw();
    };
    const follow = async () => {
      try {
        const { items, next: cursor } = await context.api.get(
          "/cases",
          { ...chosen, limit: PAGE, cursor: next },
          context.signal,
        );
        const known = new Set(shown.map((line) => line.case_id));
        shown = [...shown, ...items.filter((line) => !known.has(line.case_id))].slice(0, ROWS_MAX);
        next = cursor;
        draw();
      } catch (error) {
        if (!context.signal.aborted) context.toast(error.message, "bad");
      }
    };
    const change = (query) => {
      Object.assign(chosen, query);
      context.query(chosen);
      load();
    };

    const room = h("div");
    const body = h("div", { class: "stack" }, told, list, none, more);
    root.append(heading("Cases", news), filters(chosen, change), room);
    const load = loader({
      root: room,
      body,
      what: "cases",
      context,
      fetch: (signal) => context.api.get("/cases", { ...chosen, limit: PAGE }, signal),
      draw: head,
    });
    load();

    const batch = createBatch({
      key: (line) => line.case_id,
      max: ROWS_MAX,
      apply(lines) {
        const places = new Map(shown.map((line, index) => [line.case_id, index]));
        for (const line of lines) {
          const place = places.get(line.case_id);
          if (place !== undefined) shown[place] = { ...shown[place], ...line };
          else if (fits(line, chosen) && fresh.size < 10_000) fresh.add(line.case_id);
        }
        rows.set(shown);
        news.hidden = fresh.size === 0;
        text(news, `Show ${count(fresh.size)} new or changed`);
      },
    });
    context.live.want(["cases"], { case: batch.push, resync: load, poll: load });
    rover(list, "a.id", context);
    context.keys({ "/": () => root.querySelector("input[name=q]").focus() });
  },
};

function fits(line, { status, workflow, tenant, subject }) {
  const open = !line.closed_at;
  return (
    (!status || (status === "open" ? open : line.status === status)) &&
    (!workflow || line.workflow === workflow) &&
    (!tenant || line.tenant === tenant) &&
    (!subject || line.subject === subject)
  );
}

function filters(chosen, change) {
  const input = (name, placeholder = "") =>
    h("input", {
      name,
      value: chosen[name] ?? "",
      placeholder,
      autocomplete: "off",
      maxlength: "200",
    });
  const form = h(
    "form",
    {
      class: "filters",
      role: "search",
      on: {
        submit: (event) => {
          event.preventDefault();
          change(Object.fromEntries(new FormData(form)));
        },
        change: (event) => event.target.matches("select") && form.requestSubmit(),
      },
    },
    field("Text", input("q", "id, subject, type")),
    field("Status", choice("status", STATUSES, chosen.status)),
    field("Workflow", input("workflow")),
    field("Tenant", input("tenant")),
    field("Subject", input("subject")),
    h(
      "div",
      { class: "actions" },
      h("button", { type: "submit", class: "primary", text: "Filter" }),
      button("Clear", () => {
        for (const control of form.elements) if (control.name) control.value = "";
        form.requestSubmit();
      }),
    ),
  );
  return form;
}
