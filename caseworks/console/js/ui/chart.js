// The last sixty seconds as two lines. Drawn twice a second: the nodes stay, two paths change.

import { attribute, h, s, text } from "../dom.js";
import { rate } from "../format.js";

const WIDTH = 600;
const HEIGHT = 120;

/** `{node, update({opened: [60 numbers], closed: [60 numbers]})}`, the newest second last. */
export function throughput() {
  const area = s("path", { class: "area" });
  const closed = s("path", { class: "line closed" });
  const opened = s("path", { class: "line opened" });
  const top = h("span", { class: "axis" });
  const svg = s(
    "svg",
    { viewBox: `0 0 ${WIDTH} ${HEIGHT}`, preserveAspectRatio: "none", role: "img" },
    [0.25, 0.5, 0.75].map((part) =>
      s("line", { class: "grid", x1: 0, x2: WIDTH, y1: HEIGHT * part, y2: HEIGHT * part }),
    ),
    area,
    closed,
    opened,
  );
  const now = [h("b"), h("b")];
  const node = h(
    "figure",
    { class: "chart" },
    h(
      "figcaption",
      {},
      h("span", { class: "key opened" }, "opened ", now[0], " /s"),
      h("span", { class: "key closed" }, "closed ", now[1], " /s"),
    ),
    h("div", { class: "plot" }, top, svg),
    h(
      "div",
      { class: "axis-x", "aria-hidden": "true" },
      h("span", { text: "60 s ago" }),
      h("span", { text: "now" }),
    ),
  );
  const update = (series) => {
    const most = Math.max(1, ...series.opened, ...series.closed);
    const scale = nice(most);
    attribute(opened, "d", line(series.opened, scale));
    attribute(closed, "d", line(series.closed, scale));
    attribute(area, "d", `${line(series.closed, scale)}L${WIDTH} ${HEIGHT}L0 ${HEIGHT}Z`);
    text(top, rate(scale));
    text(now[0], rate(lately(series.opened)));
    text(now[1], rate(lately(series.closed)));
    attribute(
      svg,
      "aria-label",
      `Cases a second over the last minute: ${rate(lately(series.opened))} opened and ${rate(lately(series.closed))} closed lately, ${rate(most)} at most`,
    );
  };
  return { node, update };
}

function line(values, scale) {
  const step = WIDTH / Math.max(1, values.length - 1);
  return (
    values
      .map(
        (value, index) =>
          `${index ? "L" : "M"}${(index * step).toFixed(1)} ${(HEIGHT - 2 - (value / scale) * (HEIGHT - 6)).toFixed(1)}`,
      )
      .join("") || "M0 0"
  );
}

/** The mean of the last five whole seconds: the very last one is still filling. */
function lately(values) {
  const last = values.slice(-6, -1);
  return last.length ? last.reduce((sum, value) => sum + value, 0) / last.length : 0;
}

function nice(most) {
  const power = 10 ** Math.floor(Math.log10(most));
  return [1, 1.5, 2, 3, 4, 5, 6, 8, 10].map((step) => step * power).find((step) => step >= most);
}

/** A bar that says when a step ran within its case; both ends between 0 and 1. */
export function span(from, to, kind, label) {
  const width = Math.max(1.5, (to - from) * 100);
  return s(
    "svg",
    {
      class: `span ${kind}`,
      viewBox: "0 0 100 10",
      preserveAspectRatio: "none",
      role: "img",
      "aria-label": label,
    },
    s("rect", { class: "track", x: 0, y: 4, width: 100, height: 2 }),
    s("rect", {
      class: "bar",
      x: Math.min(from * 100, 100 - width),
      y: 1,
      width,
      height: 8,
      rx: 1,
    }),
  );
}

/** A share of a whole as a bar; `part` between 0 and 1. */
export function share(part, kind, label) {
  return span(0, Math.min(1, Math.max(0, part)), kind, label);
}
