// What it is worth: rates, drift and returns, where the insight role runs.

import { h, part } from "../dom.js";
import { heading, section } from "../ui/basics.js";
import { anything } from "../ui/anything.js";
import { empty, loader } from "../ui/states.js";

const RELOAD_MS = 60_000;
const GONE = new Set([404, 501, 503]);

export const page = {
  title: () => "Insight",
  mount(root, context) {
    const body = h("div", { class: "stack" });
    const draw = part(body, (view) => {
      if (view === null)
        return empty(
          "Insight does not run here.",
          "Install the extra “insight” and start the role: caseworks insight.",
        );
      const deep = Object.entries(view).filter(([, it]) => it !== null && typeof it === "object");
      const plain = Object.fromEntries(
        Object.entries(view).filter(([, it]) => it === null || typeof it !== "object"),
      );
      if (!deep.length && !Object.keys(plain).length) return empty("Nothing is measured yet.");
      return [
        Object.keys(plain).length > 0 && section("Summary", anything(plain)),
        deep.map(([name, it]) =>
          section(
            name.replaceAll("_", " ").replace(/^./, (first) => first.toUpperCase()),
            anything(it, name),
          ),
        ),
      ];
    });
    const room = h("div");
    root.append(heading("Insight"), room);
    const load = loader({
      root: room,
      body,
      what: "insight",
      context,
      draw,
      fetch: async (signal) => {
        try {
          return await context.api.get("/insight", {}, signal);
        } catch (error) {
          if (GONE.has(error.status)) return null;
          throw error;
        }
      },
    });
    load();
    const timer = setInterval(load, RELOAD_MS);
    context.signal.addEventListener("abort", () => clearInterval(timer));
  },
};
