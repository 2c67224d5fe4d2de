// Dead letters: found, compared, and put back many at once, with a dry run first.

import { h, part, swap, text } from "../dom.js";
import { count, short, since, tone } from "../format.js";
import { link } from "../router.js";
import { badge, button, cell, choice, field, guarded, heading, table, time } from "../ui/basics.js";
import { handle } from "../ui/handle.js";
import { rover } from "../ui/rover.js";
import { empty, loader } from "../ui/states.js";

const STATES = ["waiting", "replayed", "dropped"];
const PAGE = 50;
const ROWS_MAX = 500;
const FILTERS = ["agent", "reason", "topic", "tenant", "case_id", "since"];

export const page = {
  title: () => "Dead letters",
  mount(root, context) {
    const query = { ...context.route.query };
    const chosen = new Set();
    const rows = h("tbody");
    const more = h("div", { class: "more" });
    const none = h("div");
    const told = h("p", { class: "quiet-text", role: "status" });
    const tools = h("div", { class: "actions" });
    let shown = [];
    let next = null;

    const filters = () => {
      const said = FILTERS.filter((name) => query[name]).map((name) => [name, query[name]]);
      return Object.fromEntries(
        said.map(([name, value]) => [name, name === "since" ? since(value, Date.now()) : value]),
      );
    };
    const listing = () => ({ ...filters(), state: query.state ?? "waiting", limit: PAGE });
    const which = () => {
      if (chosen.size) return { places: [...chosen] };
      return Object.keys(filters()).length ? filters() : { all: true };
    };
    const showRows = part(rows, (list) => list.map((it) => row(it, chosen, drawTools)));
    function drawTools() {
      const many = chosen.size
        ? `${count(chosen.size)} chosen`
        : Object.keys(filters()).length
          ? "all that fit"
          : "all";
      const [a, b] = chosen;
      swap(
        tools,
        chosen.size === 2 &&
          button("Compare", () => context.go(["letters", a], { with: b }), { id: "compare" }),
        shown.length > 0 && [
          guarded(
            button(`Replay ${many} …`, () => run("replay"), { kind: "primary", id: "replay" }),
            context,
            "operate",
          ),
          guarded(
            button(`Drop ${many} …`, () => run("drop"), { kind: "danger", id: "drop" }),
            context,
            "operate",
          ),
        ],
      );
    }
    async function run(action) {
      if (!(await handle(action, which(), context))) return;
      chosen.clear();
      load();
    }
    const draw = () => {
      const here = new Set(shown.map((it) => it.id));
      for (const id of chosen) if (!here.has(id)) chosen.delete(id);
      showRows(shown);
      text(
        told,
        shown.length ? `${count(shown.length)} shown${next ? ", there are more" : ""}` : "",
      );
      swap(
        none,
        !shown.length &&
          (Object.keys(filters()).length
            ? empty("No dead letter fits this filter.")
            : empty(
                "No dead letters.",
                "What cannot be processed comes here, with all that its replay needs.",
              )),
      );
      swap(more, next && shown.length < ROWS_MAX && button("Load more", follow));
      drawTools();
    };
    async function follow() {
      try {
        const answer = await context.api.get(
          "/letters",
          { ...listing(), cursor: next },
          context.signal,
        );
        shown = [...shown, ...answer.items].slice(0, ROWS_MAX);
        next = answer.next;
        draw();
      } catch (error) {
        if (!context.signal.aborted) context.toast(error.message, "bad");
      }
    }

    const room = h("div");
    const body = h(
      "div",
      { class: "stack" },
      told,
      table(
        "Dead letters",
        [
          [""],
          ["State"],
          ["Reason"],
          ["Agent or topic"],
          ["Error"],
          ["Case"],
          ["Attempts", "num"],
          ["Replays", "num"],
          ["When"],
        ],
        rows,
        { stack: true },
      ),
      none,
      more,
    );
    root.append(
      heading("Dead letters", tools),
      form(query, () => {
        context.query(query);
        load();
      }),
      room,
    );
    const load = loader({
      root: room,
      body,
      what: "dead letters",
      context,
      fetch: (signal) => context.api.get("/letters", listing(), signal),
      draw: (answer) => {
        shown = answer.items;
        next = answer.next;
        draw();
      },
    });
    load();
    let waiting = null;
    context.live.want(["overview"], {
      overview: (view) => {
        // The first one too: a letter may have come between the list and the stream.
        if (waiting !== view.letters_waiting) load();
        waiting = view.letters_waiting;
      },
      resync: load,
      poll: load,
    });
    rover(rows, "a.letter", context);
    context.keys({ "/": () => root.querySelector("input[name=agent]").focus() });
  },
};

function row(it, chosen, changed) {
  const box = h("input", {
    type: "checkbox",
    id: `box-${it.id}`,
    checked: chosen.has(it.id),
    "aria-label": `Choose ${it.id}`,
    on: {
      change: () => {
        if (box.checked) chosen.add(it.id);
        else chosen.delete(it.id);
        changed();
      },
    },
  });
  return h(
    "tr",
    {},
    h("td", {}, box),
    h("td", {}, badge(it.state, it.state === "waiting" ? "bad" : tone(it.state))),
    h(
      "td",
      {},
      h("a", {
        class: "letter",
        id: `letter-${it.id}`,
        href: link(["letters", it.id]),
        text: it.reason,
        title: it.id,
      }),
    ),
    cell("Agent", { text: it.agent ?? it.topic }),
    cell("Error", { class: "long", text: it.error, title: it.error }),
    cell(
      "Case",
      {},
      it.case_id
        ? h("a", {
            href: link(["cases", it.case_id]),
            text: short(it.case_id, 10),
            title: it.case_id,
          })
        : "–",
    ),
    cell("Attempts", { class: "num", text: count(it.attempts) }),
    cell("Replays", { class: "num", text: count(it.replays) }),
    cell("When", {}, time(it.at)),
  );
}

function form(query, changed) {
  const input = (name, placeholder = "") =>
    h("input", {
      name,
      value: query[name] ?? "",
      placeholder,
      autocomplete: "off",
      maxlength: "200",
    });
  const node = h(
    "form",
    {
      class: "filters",
      role: "search",
      on: {
        submit: (event) => {
          event.preventDefault();
          for (const [name, said] of new FormData(node)) query[name] = said.trim();
          changed();
        },
      },
    },
    field("State", choice("state", STATES, query.state ?? "waiting", "any")),
    field("Agent", input("agent")),
    field("Reason", input("reason")),
    field("Topic", input("topic")),
    field("Tenant", input("tenant")),
    field("Case", input("case_id")),
    field("Since", input("since", "2h, 7d")),
    h(
      "div",
      { class: "actions" },
      h("button", { type: "submit", class: "primary", text: "Filter" }),
      button("Clear", () => {
        for (const control of node.elements)
          if (control.name) control.value = control.name === "state" ? "waiting" : "";
        node.requestSubmit();
      }),
    ),
  );
  return node;
}
