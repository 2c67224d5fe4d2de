// One decision, asked for once more with what it does, sent with the hash of what was shown.

import { segment } from "../api.js";
import { h, swap } from "../dom.js";
import { canonical, parsed } from "../json.js";
import { field, value } from "./basics.js";
import { diff } from "./diff.js";
import { ask } from "./dialog.js";

const WORDS = {
  approve: {
    title: "Approve exactly this?",
    does: "The case goes on with this action as it stands.",
    confirm: "Approve",
  },
  reject: {
    title: "Reject this?",
    does: "The action is not done; the step fails, and the case goes on as its workflow says.",
    confirm: "Reject",
  },
  correct: {
    title: "Correct this",
    does: "The case goes on with your text instead of the action.",
    confirm: "Send the correction",
  },
};

/** Ask and send; resolves to "decided", "changed" (somebody or time was first), or null. */
export async function decide(it, decision, context) {
  const words = WORDS[decision];
  const note = h("input", { name: "note", maxlength: "1000" });
  const editor = decision === "correct" ? correction(it.action) : null;
  const said = await ask({
    title: words.title,
    body: [
      h("p", {
        text:
          it.needed > 1 && decision !== "reject"
            ? `${words.does} Two people have to agree; ${it.by.length} did.`
            : words.does,
      }),
      editor ? editor.node : value(it.action),
      field("Note (optional)", note),
    ],
    confirm: words.confirm,
    danger: decision === "reject",
    wide: true,
    focus: editor?.input ?? note,
    read: () => {
      const output = editor ? editor.read() : undefined;
      return output === null ? null : { output, note: note.value.trim() };
    },
  });
  if (!said) return null;
  try {
    await context.api.post(`/approvals/${segment(it.approval_id)}/decision`, {
      decision,
      action_hash: it.action_hash,
      ...(editor ? { output: said.output.value } : {}),
      ...(said.note ? { note: said.note } : {}),
    });
    context.toast(
      `${{ approve: "Approved", reject: "Rejected", correct: "Corrected" }[decision]}: ${it.step}`,
      "ok",
    );
    return "decided";
  } catch (error) {
    if (error.status === 409 || error.status === 404 || error.status === 410) {
      context.toast(`Your decision does not count: ${error.message}`, "warn");
      return "changed";
    }
    context.toast(`Not sent: ${error.message}`, "bad");
    return null;
  }
}

/** An editor for JSON with what it changes below; `read()` is `{value}`, or null with the reason shown. */
function correction(action) {
  const before = canonical(action ?? null);
  const error = h("p", { class: "error-text", id: "correction-error", role: "alert" });
  const input = h("textarea", {
    rows: "10",
    spellcheck: "false",
    class: "code",
    "aria-describedby": "correction-error",
  });
  input.value = typeof action === "string" ? action : before;
  const room = h("div");
  const read = () => (typeof action === "string" ? input.value : parsed(input.value));
  const show = () => {
    const now = read();
    input.setAttribute("aria-invalid", String(now === undefined));
    swap(error, now === undefined && "This is no JSON yet.");
    if (now !== undefined)
      swap(
        room,
        diff(
          typeof action === "string" ? action : before,
          typeof now === "string" && typeof action === "string" ? now : canonical(now),
          "What the correction changes",
        ),
      );
  };
  input.addEventListener("input", show);
  show();
  return {
    node: h(
      "div",
      { class: "stack" },
      field("What is done instead", input),
      error,
      h("h3", { text: "What changes" }),
      room,
    ),
    input,
    read: () => {
      const now = read();
      if (now === undefined) return null;
      if (canonical(now) === before) {
        swap(error, "Nothing was changed: approve it instead.");
        return null;
      }
      return { value: now };
    },
  };
}
