// Small pieces that every page is made of.

import { h, s, text } from "../dom.js";
import * as format from "../format.js";

/** A state as a word in its colour. */
export function badge(word, tone = format.tone(word)) {
  return h("span", {
    class: `badge ${tone}`,
    text: String(word ?? "unknown").replaceAll("_", " "),
  });
}

/** A time as people say it, with the exact one as its title; `tick` keeps it right. */
export function time(at) {
  if (!at) return h("span", { class: "none", text: "–" });
  return h("time", {
    datetime: at,
    title: format.absolute(at),
    data: { live: "1" },
    text: format.relative(at, Date.now()),
  });
}

/** Once a second all relative times are told anew. */
export function tickTimes() {
  setInterval(() => {
    if (document.hidden) return;
    const now = Date.now();
    for (const node of document.querySelectorAll("time[data-live]"))
      text(node, format.relative(node.dateTime, now));
  }, 1000);
}

/** A button; `kind` is "", "primary", "danger" or "quiet". */
export function button(label, run, { kind = "", ...rest } = {}) {
  return h("button", { type: "button", class: kind, on: { click: run }, ...rest }, label);
}

/** A button that a role may not use says so instead of failing. */
export function guarded(node, context, role) {
  if (!context.may(role)) {
    node.disabled = true;
    node.title = `Your key lacks the role “${role}”.`;
  }
  return node;
}

/** An id in a machine's letters, with a button that copies it. */
export function copyable(value, context, { label = "id", length = 0 } = {}) {
  const shown = length ? format.short(value, length) : value;
  const copy = async () => {
    try {
      await navigator.clipboard.writeText(String(value));
      context.say(`Copied ${label}`);
    } catch {
      context.toast(`The browser forbids copying; it is ${value}`, "warn");
    }
  };
  return h(
    "span",
    { class: "copyable" },
    h("code", { text: shown, title: value }),
    button(icon("copy"), copy, {
      kind: "icon",
      "aria-label": `Copy ${label} ${value}`,
      title: "Copy",
    }),
  );
}

/** Names and values. */
export function facts(pairs) {
  return h(
    "dl",
    { class: "facts" },
    pairs
      .filter(Boolean)
      .map(([name, value]) =>
        h(
          "div",
          {},
          h("dt", { text: name }),
          h("dd", {}, value instanceof Node || Array.isArray(value) ? value : format.told(value)),
        ),
      ),
  );
}

/** A value as JSON, or text as it is. */
export function value(of) {
  return h("pre", {
    class: "value",
    tabindex: "0",
    text: typeof of === "string" ? of : JSON.stringify(of, null, 2),
  });
}

/** A part of a page with a heading. */
export function section(title, ...children) {
  const id = `s-${title.toLowerCase().replace(/[^a-z0-9]+/g, "-")}`;
  return h(
    "section",
    { class: "card", "aria-labelledby": id },
    h("h2", { id, text: title }),
    children,
  );
}

/** The head of a page. */
export function heading(title, ...actions) {
  return h(
    "div",
    { class: "head" },
    h("h1", { tabindex: "-1" }, title),
    h("div", { class: "actions" }, actions),
  );
}

/**
 * A table; `columns`: `[title, class]`. Scrolls within itself, so that a phone can show it; with
 * `stack` a phone shows each row as a block, where cells of `cell` tell what they are.
 */
export function table(caption, columns, body, { stack = false } = {}) {
  return h(
    "div",
    { class: "scroll", tabindex: "0", role: "region", "aria-label": `Table: ${caption}` },
    h(
      "table",
      { class: stack ? "stackable" : null },
      h("caption", { class: "hidden-text", text: caption }),
      h(
        "thead",
        {},
        h(
          "tr",
          {},
          columns.map(([title, kind = ""]) =>
            h(
              "th",
              { scope: "col", class: kind },
              title || h("span", { class: "hidden-text", text: "Choose" }),
            ),
          ),
        ),
      ),
      body,
    ),
  );
}

/** A cell that tells what it is where there is no head above it. */
export function cell(label, props = {}, ...children) {
  return h("td", { ...props, data: { label } }, ...children);
}

/** A labelled control. */
export function field(label, control, hint = "") {
  return h(
    "label",
    { class: "field" },
    h("span", { text: label }),
    control,
    hint && h("small", { text: hint }),
  );
}

/** A choice from words; the empty one is "any". */
export function choice(name, words, chosen, any = "any") {
  return h(
    "select",
    { name },
    h("option", { value: "", text: any }),
    words.map((word) => h("option", { value: word, text: word, selected: word === chosen })),
  );
}

const PATHS = {
  theme: "M12 3a9 9 0 100 18zM12 3a9 9 0 010 18",
  copy: "M9 9h10v11H9zM5 15V4h10",
  overview: "M4 13h6V4H4zM14 20h6v-9h-6zM4 20h6v-3H4zM14 7h6V4h-6z",
  cases: "M4 6h16M4 12h16M4 18h10",
  approvals: "M4 12l5 5L20 6",
  letters: "M4 6h16v12H4zM4 7l8 6 8-6",
  agents: "M12 4v3M6 9h12v9H6zM9.5 13v1M14.5 13v1M3 12v3M21 12v3",
  spend: "M12 3v18M17 7H9.5a2.5 2.5 0 000 5h5a2.5 2.5 0 010 5H6",
  insight: "M4 20V10M10 20V4M16 20v-7M21 20H3",
};

/** A line drawing; decoration only. */
export function icon(name) {
  return s(
    "svg",
    { viewBox: "0 0 24 24", class: "icon", "aria-hidden": "true", focusable: "false" },
    s("path", { d: PATHS[name] }),
  );
}
