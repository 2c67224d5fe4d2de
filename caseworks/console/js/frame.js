// What stands around the pages: navigation with counts, the state of the stream, the theme, keys,
// messages, and the question for a key.

import { attribute, h, swap, text } from "./dom.js";
import { count } from "./format.js";
import { keysAreOn, onKeys, switchKeys } from "./keys.js";
import { link } from "./router.js";
import { button, field, icon } from "./ui/basics.js";
import { ask } from "./ui/dialog.js";

const PLACES = [
  ["", "Overview", "overview", "o"],
  ["cases", "Cases", "cases", "c"],
  ["approvals", "Approvals", "approvals", "a"],
  ["letters", "Dead letters", "letters", "d"],
  ["agents", "Agents", "agents", "g"],
  ["spend", "Spend", "spend", "s"],
  ["insight", "Insight", "insight", "i"],
];
const THEMES = ["system", "light", "dark"];
const TOASTS_MAX = 4;
const TOAST_MS = 8_000;
const at = (id) => document.getElementById(id);

/** The frame; `onKey()` is called when a person gave another key. */
export function createFrame({ api, onKey }) {
  const links = navigation(at("nav"));
  let asking = false;

  at("skip").addEventListener("click", (event) => {
    event.preventDefault();
    at("main").focus();
  });
  themes(at("theme"));
  at("help").addEventListener("click", help);
  onKeys({ "?": help });

  const frame = {
    say: (said) => text(at("say"), at("say").textContent === said ? `${said}\u00a0` : said),
    toast,
    route(route, title) {
      for (const [name, { node }] of links)
        attribute(node, "aria-current", name === (route.path[0] ?? "") ? "page" : null);
      links.get(route.path[0] ?? "")?.node.scrollIntoView({ block: "nearest", inline: "nearest" });
      frame.say(title);
    },
    counts(overview) {
      badgeOf(links.get("cases"), overview.cases_open, "open");
      badgeOf(
        links.get("approvals"),
        overview.approvals_open,
        "waiting",
        overview.approvals_expiring > 0,
      );
      badgeOf(links.get("letters"), overview.letters_waiting, "waiting");
    },
    alert: (alert) =>
      toast(
        String(alert.says ?? alert.summary ?? alert.what ?? "An alert was raised"),
        alert.state === "cleared" ? "ok" : "warn",
      ),
    who(me) {
      const roles = me.roles.includes("operate") ? "operate" : me.roles.join(", ");
      swap(
        at("who"),
        me.name && h("span", { text: me.name }),
        roles && h("span", { class: "role", text: me.tenant ? `${roles} · ${me.tenant}` : roles }),
        api.key &&
          button(
            "Forget key",
            () => {
              api.key = "";
              location.reload();
            },
            { kind: "quiet" },
          ),
      );
    },
    live({ state, retryInMs }) {
      at("live").dataset.state = state;
      text(
        at("live-text"),
        {
          live: "Live",
          connecting: "Connecting",
          denied: "No access",
          waiting: `Reconnecting in ${Math.ceil(retryInMs / 1000)} s`,
        }[state],
      );
    },
    reachable(ok) {
      if (at("banner").hidden === ok) return;
      at("banner").hidden = ok;
      text(
        at("banner"),
        ok
          ? ""
          : "The server cannot be reached. What you see may be old; the page tries again by itself.",
      );
    },
    async askKey() {
      if (asking) return;
      asking = true;
      const input = h("input", {
        type: "password",
        name: "key",
        autocomplete: "off",
        required: true,
      });
      const key = await ask({
        title: "This console needs an API key",
        body: [
          h("p", {
            text: api.key
              ? "The key of this tab is unknown or expired."
              : "The server asks who you are.",
          }),
          field("API key or token", input, "It stays in this tab until you close it."),
        ],
        confirm: "Use this key",
        focus: input,
        read: () => input.value.trim() || null,
      });
      asking = false;
      if (key === null) return;
      api.key = key;
      onKey();
    },
  };
  return frame;
}

function navigation(list) {
  const links = new Map();
  for (const [name, label, drawing, key] of PLACES) {
    const number = h("span", { class: "number", hidden: true });
    const node = h(
      "a",
      { href: link(name ? [name] : []), "aria-keyshortcuts": `g ${key}` },
      icon(drawing),
      h("span", { class: "label", text: label }),
      number,
    );
    links.set(name, { node, number });
    list.append(h("li", {}, node));
  }
  return links;
}

function badgeOf({ number }, value, noun, urgent = false) {
  number.hidden = !value;
  text(number, value > 9999 ? "9999+" : count(value));
  attribute(number, "title", `${count(value)} ${noun}`);
  number.classList.toggle("urgent", urgent);
}

function themes(node) {
  const root = document.documentElement;
  const label = h("span", { class: "label" });
  node.replaceChildren(icon("theme"), label);
  const show = () => {
    const said = `Theme: ${root.dataset.theme ?? "system"}`;
    text(label, said);
    attribute(node, "aria-label", said);
    attribute(node, "title", said);
  };
  node.addEventListener("click", () => {
    const next = THEMES[(THEMES.indexOf(root.dataset.theme ?? "system") + 1) % THEMES.length];
    if (next === "system") delete root.dataset.theme;
    else root.dataset.theme = next;
    try {
      localStorage.setItem("caseworks.theme", next);
    } catch {
      // Forbidden storage: it lasts as long as the page.
    }
    show();
  });
  show();
}

function toast(message, tone = "info") {
  const room = at("toasts");
  const node = h(
    "div",
    { class: `toast ${tone}` },
    h("span", { text: message }),
    button("Dismiss", () => node.remove(), { kind: "quiet" }),
  );
  room.append(node);
  while (room.children.length > TOASTS_MAX) room.firstElementChild.remove();
  setTimeout(() => {
    if (!node.matches(":hover, :focus-within")) node.remove();
  }, TOAST_MS);
}

function help() {
  const box = h("input", { type: "checkbox", checked: keysAreOn() });
  const rows = [
    ...PLACES.map(([, label, , key]) => [`g ${key}`, label]),
    ["j k", "next, previous in a list"],
    ["a r c", "approve, reject, correct (approvals)"],
    ["/", "to the filter of a page"],
    ["?", "this list"],
  ];
  ask({
    title: "Keyboard",
    body: [
      h(
        "dl",
        { class: "keys" },
        rows.map(([keys, does]) =>
          h(
            "div",
            {},
            h(
              "dt",
              {},
              keys.split(" ").map((key) => [h("kbd", { text: key }), " "]),
            ),
            h("dd", { text: does }),
          ),
        ),
      ),
      h("label", { class: "check" }, box, " Keys of one letter are on"),
    ],
    confirm: "Save",
    read: () => {
      switchKeys(box.checked);
      return true;
    },
  });
}
