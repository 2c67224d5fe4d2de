// Questions to people: a list, the one that is looked at, and three answers, each bound by its hash
// to exactly the action that is shown.

import { throttle } from "../batch.js";
import { segment } from "../api.js";
import { h, part, text } from "../dom.js";
import { count, percent, short } from "../format.js";
import { canonical } from "../json.js";
import { link } from "../router.js";
import { badge, button, copyable, facts, guarded, heading, time, value } from "../ui/basics.js";
import { decide } from "../ui/decide.js";
import { empty, loader } from "../ui/states.js";

const RELOAD_MS = 1000;
const SOON_MS = 15 * 60_000;

export const page = {
  title: () => "Approvals",
  mount(root, context) {
    const list = h("ul", { class: "picks", "aria-label": "Open approvals" });
    const detail = h("div", { class: "detail", tabindex: "-1" });
    const told = h("p", { class: "quiet-text", role: "status" });
    let all = [];
    let chosen = context.route.query.id ?? "";
    let gone = null;

    const showDetail = part(detail, ({ it, many }) =>
      it ? question(it, context, answer) : nothing(many),
    );
    const showList = part(list, (view) =>
      view.items.map((it) => pick(it, it.approval_id === view.chosen, choose)),
    );
    const current = () =>
      all.find((it) => it.approval_id === chosen) ?? (gone?.approval_id === chosen ? gone : null);
    const draw = () => {
      const it = current();
      text(
        told,
        all.length
          ? `${count(all.length)} ${all.length === 1 ? "waits" : "wait"} for a person`
          : "",
      );
      showList({ items: all, chosen });
      showDetail({ it, many: all.length });
    };
    function choose(id, { focus = false } = {}) {
      chosen = id;
      gone = null;
      context.query(id ? { id } : {});
      draw();
      if (focus) list.querySelector("[aria-current=true]")?.focus();
      else if (isNarrow()) detail.scrollIntoView({ block: "start" });
    }
    const step = (by) => {
      if (!all.length) return;
      const here = all.findIndex((it) => it.approval_id === chosen);
      choose(all[here < 0 ? 0 : Math.min(all.length - 1, Math.max(0, here + by))].approval_id, {
        focus: true,
      });
    };
    async function answer(decision) {
      const it = current();
      if (!it || it.status !== "open" || !context.may("decide")) return;
      const said = await decide(it, decision, context);
      if (!said) return;
      const next = all[all.indexOf(it) + 1] ?? all[all.indexOf(it) - 1];
      if (said === "decided" && next) chosen = next.approval_id;
      else if (said === "decided") chosen = "";
      context.query(chosen ? { id: chosen } : {});
      await load();
      (list.querySelector("[aria-current=true]") ?? root.querySelector("h1")).focus();
    }
    const take = async ({ items }) => {
      all = items;
      if (!all.some((it) => it.approval_id === chosen))
        gone = chosen ? await past(chosen, context) : null;
      if (!gone && !all.some((it) => it.approval_id === chosen))
        chosen = isNarrow() ? "" : (all[0]?.approval_id ?? "");
      draw();
    };

    const room = h("div");
    const body = h("div", { class: "stack" }, told, h("div", { class: "two-panes" }, list, detail));
    root.append(
      heading(
        "Approvals",
        h(
          "span",
          { class: "hint" },
          h("kbd", { text: "j" }),
          h("kbd", { text: "k" }),
          " move ",
          h("kbd", { text: "a" }),
          " approve ",
          h("kbd", { text: "r" }),
          " reject ",
          h("kbd", { text: "c" }),
          " correct",
        ),
      ),
      room,
    );
    const load = loader({
      root: room,
      body,
      what: "approvals",
      context,
      fetch: (signal) => context.api.get("/approvals", { limit: 200 }, signal),
      draw: take,
    });
    load();
    const again = throttle(() => context.signal.aborted || load(), RELOAD_MS);
    let open = null;
    const counted = (view) => {
      if (open !== view.approvals_open) again();
      open = view.approvals_open;
    };
    context.live.want(["approvals", "overview"], {
      approval: again,
      overview: counted,
      resync: again,
      poll: again,
    });
    context.keys({
      j: () => step(1),
      k: () => step(-1),
      a: () => answer("approve"),
      r: () => answer("reject"),
      c: () => answer("correct"),
    });
  },
};

/** A question that is open no more. */
async function past(id, context) {
  try {
    return await context.api.get(`/approvals/${segment(id)}`, {}, context.signal);
  } catch {
    return null;
  }
}

function isNarrow() {
  return window.matchMedia("(width < 900px)").matches;
}

function nothing(many) {
  return many
    ? empty("Choose a question.", "What would be done, and why it is asked, stands here.")
    : empty("Nothing waits for a person.", "New questions appear here by themselves.");
}

function pick(it, current, choose) {
  const soon = Date.parse(it.expires_at) - Date.now() < SOON_MS;
  return h(
    "li",
    {},
    h(
      "button",
      {
        type: "button",
        id: `pick-${it.approval_id}`,
        class: "pick",
        "aria-current": current ? "true" : null,
        on: { click: () => choose(it.approval_id) },
      },
      h(
        "span",
        { class: "line" },
        h("strong", { text: it.step }),
        it.needed > 1 && badge(`${it.by.length} of ${it.needed}`, "person"),
        h("span", { class: "end num", text: percent(it.confidence) }),
      ),
      h(
        "span",
        { class: "line sub" },
        h("span", { text: [it.workflow, it.tenant].filter(Boolean).join(" · ") }),
      ),
      h("span", { class: `line sub${soon ? " soon" : ""}` }, "expires ", time(it.expires_at)),
    ),
  );
}

function question(it, context, answer) {
  const open = it.status === "open";
  const act = (label, decision, kind, key) =>
    guarded(
      button([label, " ", h("kbd", { "aria-hidden": "true", text: key })], () => answer(decision), {
        kind,
        id: `act-${decision}`,
        "aria-keyshortcuts": key,
      }),
      context,
      "decide",
    );
  return h(
    "article",
    { class: "card question", "aria-label": `Question of ${it.step}` },
    h(
      "div",
      { class: "lead" },
      h("h2", { text: it.step }),
      badge(open ? "open" : it.status, open ? "person" : undefined),
    ),
    it.why && h("p", { class: "why", text: it.why }),
    open
      ? h(
          "div",
          { class: "actions decide" },
          act("Approve", "approve", "primary", "a"),
          act("Correct …", "correct", "", "c"),
          act("Reject", "reject", "danger", "r"),
        )
      : h("p", {
          class: "quiet-text",
          text: `It is open no more: ${it.status}${it.by?.length ? ` by ${it.by.join(", ")}` : ""}.`,
        }),
    facts([
      [
        "Case",
        h("a", {
          href: link(["cases", it.case_id]),
          title: it.case_id,
          text: short(it.case_id, 20),
        }),
      ],
      ["Workflow", it.workflow],
      ["Tenant", it.tenant],
      ["Confidence", percent(it.confidence)],
      ["Asked", time(it.asked_at)],
      ["Expires", h("span", {}, time(it.expires_at), `, then: ${it.on_expiry}`)],
      it.needed > 1 && [
        "People",
        `${it.by.length} of ${it.needed} have approved${it.by.length ? `: ${it.by.join(", ")}` : ""}`,
      ],
      ["Hash", copyable(it.action_hash, context, { label: "hash of the action", length: 16 })],
    ]),
    h("h3", { text: "Exactly this will be done" }),
    value(it.action === undefined ? null : it.action),
    it.context != null && [
      h("h3", { text: "Context" }),
      value(typeof it.context === "string" ? it.context : canonical(it.context)),
    ],
  );
}
