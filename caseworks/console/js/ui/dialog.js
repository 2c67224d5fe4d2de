// Questions before anything is done. The browser's own <dialog> keeps the focus inside and gives it
// back; Escape is always "no".

import { h } from "../dom.js";
import { button } from "./basics.js";

let number = 0;

/**
 * Ask; resolves to `read()` (or true) when confirmed, to null when not. `body` says what will
 * happen. `read` may return null to stay open, after it said why. The focus starts on `focus`,
 * else on the button that changes nothing.
 */
export function ask({
  title,
  body = [],
  confirm,
  danger = false,
  read = () => true,
  focus = null,
  wide = false,
}) {
  return new Promise((resolve) => {
    number += 1;
    const id = `dialog-${number}`;
    const before = document.activeElement;
    let answer = null;
    const done = () => dialog.close();
    const yes = () => {
      answer = read();
      if (answer !== null) done();
    };
    const no = button(confirm ? "Cancel" : "Close", done);
    const form = h(
      "form",
      {
        on: {
          submit: (event) => {
            event.preventDefault();
            yes();
          },
        },
      },
      h("h2", { id, text: title }),
      h("div", { class: "said" }, body),
      h(
        "div",
        { class: "actions" },
        no,
        confirm &&
          h("button", { type: "submit", class: danger ? "danger" : "primary", text: confirm }),
      ),
    );
    const dialog = h("dialog", { "aria-labelledby": id, class: wide ? "wide" : "" }, form);
    dialog.addEventListener("close", () => {
      dialog.remove();
      if (before?.isConnected) before.focus({ preventScroll: true });
      resolve(answer);
    });
    document.body.append(dialog);
    dialog.showModal();
    (focus ?? no).focus();
  });
}

/** Say something that is only read. */
export function tell(title, ...body) {
  return ask({ title, body, wide: true });
}
