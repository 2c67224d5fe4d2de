// The steps of a case as a drawing: where they stand comes from layers.js.

import { h, s } from "../dom.js";
import { ms, percent, short, stepTone } from "../format.js";
import { layered } from "../layers.js";

const BOX = { width: 158, height: 54, gapX: 44, gapY: 18 };
const ROOM = 8;

/** The drawing; a step is a link (`href(name)`) to its details. */
export function dag(steps, href) {
  const { nodes, edges, width, height } = layered(steps, BOX);
  const byName = new Map(steps.map((step) => [step.name, step]));
  const svg = s(
    "svg",
    {
      class: "dag",
      width: width + 2 * ROOM,
      height: height + 2 * ROOM,
      viewBox: `${-ROOM} ${-ROOM} ${width + 2 * ROOM} ${height + 2 * ROOM}`,
      role: "group",
      "aria-label": `Workflow with ${steps.length} steps`,
    },
    s(
      "defs",
      {},
      s(
        "marker",
        {
          id: "arrow",
          viewBox: "0 0 8 8",
          refX: 7,
          refY: 4,
          markerWidth: 7,
          markerHeight: 7,
          orient: "auto",
        },
        s("path", { d: "M0 0.5L7.5 4L0 7.5z", class: "tip" }),
      ),
    ),
    edges.map((edge) =>
      s("path", {
        class: `edge ${stepTone(byName.get(edge.from).status)}`,
        d: curve(edge.points),
        "marker-end": "url(#arrow)",
      }),
    ),
    nodes.map((node) => box(node, byName.get(node.name), href)),
  );
  return h(
    "div",
    { class: "scroll dag-room", tabindex: "0", role: "region", "aria-label": "Workflow drawing" },
    svg,
  );
}

function box({ name, x, y }, step, href) {
  const told = (attempts) =>
    [
      step.status,
      step.attempts > 1 && attempts,
      step.ms && ms(step.ms),
      step.confidence != null && percent(step.confidence),
    ].filter(Boolean);
  const label = `${name}: ${told(`${step.attempts} attempts`).join(", ")}`;
  return s(
    "a",
    {
      href: href(name),
      class: `node ${stepTone(step.status)} is-${String(step.status).replace(/\W/g, "-")}`,
      transform: `translate(${x} ${y})`,
      data: { step: name },
      "aria-label": label,
    },
    s("title", { text: label }),
    s("rect", { width: BOX.width, height: BOX.height, rx: 6 }),
    s("rect", { class: "stripe", width: 4, height: BOX.height - 16, x: 7, y: 8, rx: 2 }),
    s("text", { x: 19, y: 22, class: "name", text: short(name, 16) }),
    s("text", {
      x: 19,
      y: 41,
      class: "told",
      text: short(told(`${step.attempts}×`).join(" · "), 23),
    }),
  );
}

function curve(points) {
  return points
    .map(([x, y], index) => {
      if (!index) return `M${x} ${y}`;
      const [px, py] = points[index - 1];
      const middle = (px + x) / 2;
      return py === y ? `L${x} ${y}` : `C${middle} ${py} ${middle} ${y} ${x} ${y}`;
    })
    .join("");
}
