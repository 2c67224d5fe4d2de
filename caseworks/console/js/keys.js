// Keys of one letter, which a person may switch off (WCAG 2.1.4), and never while typing.

const OFF = "caseworks.keys";
const GO_MS = 1500;

/** Whether keys of one letter do something. */
export function keysAreOn() {
  try {
    return localStorage.getItem(OFF) !== "off";
  } catch {
    return true;
  }
}

/** Switch them on or off for this browser. */
export function switchKeys(on) {
  try {
    localStorage.setItem(OFF, on ? "on" : "off");
  } catch {
    // Forbidden storage: they stay on.
  }
}

/** Whether a key press belongs to whoever has the focus. */
export function isTyping(event) {
  const target = event.target;
  return (
    target instanceof Element &&
    target.closest("input, textarea, select, dialog, [contenteditable]") !== null
  );
}

/** Run `table[key](event)` for plain keys until `signal` aborts. */
export function onKeys(table, signal) {
  document.addEventListener(
    "keydown",
    (event) => {
      if (
        event.ctrlKey ||
        event.metaKey ||
        event.altKey ||
        event.isComposing ||
        isTyping(event) ||
        !keysAreOn()
      )
        return;
      if (!Object.hasOwn(table, event.key)) return;
      event.preventDefault();
      table[event.key](event);
    },
    { signal },
  );
}

/** `g` and then a letter within 1.5 s goes to a page. */
export function onGo(places, go) {
  let until = 0;
  document.addEventListener("keydown", (event) => {
    if (event.ctrlKey || event.metaKey || event.altKey || isTyping(event) || !keysAreOn()) return;
    if (performance.now() < until && Object.hasOwn(places, event.key)) {
      until = 0;
      event.preventDefault();
      event.stopImmediatePropagation();
      go(places[event.key]);
    } else until = event.key === "g" ? performance.now() + GO_MS : 0;
  });
}
