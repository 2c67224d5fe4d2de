// Nothing yet, nothing at all, or something that went wrong: said the same way on every page.

import { Problem, Unreachable } from "../api.js";
import { h, swap } from "../dom.js";
import { button } from "./basics.js";

/** While a page waits for its first data. */
export function loading(what) {
  return h("p", { class: "state loading", role: "status", text: `Loading ${what} …` });
}

/** When there is nothing; says what would be here. */
export function empty(title, hint = "") {
  return h(
    "div",
    { class: "state empty" },
    h("strong", { text: title }),
    hint && h("p", { text: hint }),
  );
}

/** What went wrong, and what to do. */
export function failure(error, retry) {
  const told = explained(error);
  return h(
    "div",
    { class: "state failure", role: "alert" },
    h("strong", { text: told.title }),
    h("p", { text: told.detail }),
    retry && button("Try again", retry),
  );
}

/** An error in words. */
export function explained(error) {
  if (error instanceof Unreachable) {
    return {
      title: "The server cannot be reached",
      detail: "The page tries again by itself. Is `caseworks api` running, and the network up?",
    };
  }
  if (!(error instanceof Problem))
    return { title: "The console has a fault", detail: String(error?.message ?? error) };
  const hints = {
    401: "The key is missing, unknown or expired.",
    403: "Your key lacks the role for this.",
    404: "It was never there, is kept no more, or belongs to another tenant.",
    429: "Too many requests for this key: wait a moment.",
    503: "The read model is not ready yet.",
  };
  return {
    title: error.title,
    detail: error.detail || hints[error.status] || `The server answered ${error.status}.`,
  };
}

/**
 * Load data into a page: `fetch(signal)`, then `draw(data)` into `body`, which stands in `root` from
 * the first answer on: before it "loading", or the reason why there is none. Later failures leave
 * what is shown and say that it is old. Calls while one is under way are made up for by one after it.
 */
export function loader({ root, body, what, context, fetch, draw }) {
  let shown = false;
  let running = false;
  let again = false;
  const stale = h("p", { class: "stale", role: "status", hidden: true });
  swap(root, loading(what));
  const load = async () => {
    if (running) {
      again = true;
      return;
    }
    running = true;
    try {
      const data = await fetch(context.signal);
      if (context.signal.aborted) return;
      if (!shown) root.replaceChildren(stale, body);
      shown = true;
      stale.hidden = true;
      draw(data);
    } catch (error) {
      if (context.signal.aborted) return;
      if (shown) {
        stale.hidden = false;
        stale.textContent = `What you see is from ${context.reachedAt()}: ${explained(error).title.toLowerCase()}.`;
      } else swap(root, failure(error, load));
    } finally {
      running = false;
      if (again && !context.signal.aborted) {
        again = false;
        load();
      }
    }
  };
  return load;
}
