// A case in a list: on a wide screen one line, on a phone two.

import { attribute, h, text } from "../dom.js";
import { ms, percent, short, tone, usd } from "../format.js";
import { link } from "../router.js";
import { time } from "./basics.js";

/** `{node, update(line)}` of one case; every cell is a node of its own that changes alone. */
export function caseRow(line) {
  const status = h("span", { class: "badge" });
  const name = h("a", { class: "id" });
  const what = h("span", { class: "what" });
  const took = h("span", { class: "num took" });
  const spent = h("span", { class: "num spent" });
  const sure = h("span", { class: "num sure" });
  const when = h("span", { class: "when" });
  const node = h("li", { class: "case-row" }, status, name, what, sure, spent, took, when);
  const update = (now) => {
    const word = now.degraded && now.status === "completed" ? "degraded" : now.status;
    text(status, word);
    attribute(status, "class", `badge ${tone(word)}`);
    attribute(name, "href", link(["cases", now.case_id]));
    attribute(name, "title", now.case_id);
    text(name, short(now.case_id, 14));
    text(what, [now.workflow, now.subject, now.tenant].filter(Boolean).join(" · "));
    attribute(what, "title", [now.type, now.subject, now.tenant].filter(Boolean).join(" · "));
    text(took, now.ms == null ? "" : ms(now.ms));
    text(spent, Number(now.usd) ? usd(now.usd) : "");
    text(sure, now.confidence == null ? "" : percent(now.confidence));
    const at = now.opened_at ?? now.updated_at;
    if (when.firstChild?.dateTime !== at) when.replaceChildren(time(at));
  };
  update(line);
  return { node, update };
}
