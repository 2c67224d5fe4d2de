// Two texts beside each other, told line by line: by mark and colour, and in words for who hears it.

import { h } from "../dom.js";
import { lineDiff } from "../json.js";

const LINES_MAX = 1500;
const AROUND = 3;

/** The difference of two texts; lines far from any change are folded. */
export function diff(before, after, label = "Difference") {
  const lines = lineDiff(before, after);
  if (lines.every(([mark]) => mark === " "))
    return h("p", { class: "same", text: "No difference." });
  const shown = folded(lines).slice(0, LINES_MAX);
  return h(
    "div",
    { class: "diff", role: "group", tabindex: "0", "aria-label": label },
    shown.map(([mark, line]) => row(mark, line)),
    lines.length > LINES_MAX && h("p", { text: "The rest is not shown." }),
  );
}

function row(mark, line) {
  if (mark === "…") return h("div", { class: "fold", text: line });
  const kind = { "-": "gone", "+": "come", " ": "kept" }[mark];
  const tag = { "-": "del", "+": "ins", " ": "span" }[mark];
  return h(
    "div",
    { class: kind },
    h("span", { class: "mark", "aria-hidden": "true", text: mark }),
    h(tag, { text: line || " " }),
  );
}

function folded(lines) {
  const near = new Set();
  lines.forEach(([mark], index) => {
    if (mark !== " ") for (let i = index - AROUND; i <= index + AROUND; i += 1) near.add(i);
  });
  const told = [];
  let skipped = 0;
  const flush = () => {
    if (skipped) told.push(["…", `${skipped} same lines`]);
    skipped = 0;
  };
  lines.forEach((line, index) => {
    if (near.has(index)) {
      flush();
      told.push(line);
    } else skipped += 1;
  });
  flush();
  return told;
}
