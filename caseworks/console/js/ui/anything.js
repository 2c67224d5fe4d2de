// JSON of a shape that the console does not know, as tables and lists a person can read.

import { h } from "../dom.js";
import { count, told } from "../format.js";
import { facts, table } from "./basics.js";

const DEPTH_MAX = 5;
const ROWS_MAX = 200;
const COLUMNS_MAX = 12;

/** Lists of objects become tables, objects become names and values, the rest text. */
export function anything(value, label = "Values", depth = 0) {
  if (value === null || typeof value !== "object")
    return h("span", {
      class: typeof value === "number" ? "num" : "",
      text: typeof value === "number" ? count(Math.round(value * 1e4) / 1e4) : told(value),
    });
  if (depth >= DEPTH_MAX) return h("code", { text: told(value) });
  if (Array.isArray(value)) return list(value, label, depth);
  const entries = Object.entries(value);
  const plain = entries.filter(([, it]) => it === null || typeof it !== "object");
  const deep = entries.filter(([, it]) => it !== null && typeof it === "object");
  return h(
    "div",
    { class: "stack" },
    plain.length > 0 && facts(plain.map(([name, it]) => [words(name), anything(it)])),
    deep.map(([name, it]) =>
      h("div", {}, h("h3", { text: words(name) }), anything(it, words(name), depth + 1)),
    ),
  );
}

function list(items, label, depth) {
  if (!items.length) return h("p", { class: "quiet-text", text: "None." });
  if (!items.every((it) => it && typeof it === "object" && !Array.isArray(it)))
    return h(
      "ul",
      {},
      items.slice(0, ROWS_MAX).map((it) => h("li", {}, anything(it, label, depth + 1))),
    );
  const names = [...new Set(items.slice(0, ROWS_MAX).flatMap(Object.keys))].slice(0, COLUMNS_MAX);
  const numeric = (name) =>
    items.every((it) => it[name] == null || typeof it[name] === "number") ? "num" : "";
  return table(
    label,
    names.map((name) => [words(name), numeric(name)]),
    h(
      "tbody",
      {},
      items.slice(0, ROWS_MAX).map((it) =>
        h(
          "tr",
          {},
          names.map((name) =>
            h(
              "td",
              { class: numeric(name) },
              it[name] !== null && typeof it[name] === "object"
                ? h("code", { text: told(it[name]) })
                : anything(it[name]),
            ),
          ),
        ),
      ),
    ),
  );
}

function words(name) {
  const said = String(name).replaceAll("_", " ").trim();
  return said ? said[0].toUpperCase() + said.slice(1) : "none";
}
