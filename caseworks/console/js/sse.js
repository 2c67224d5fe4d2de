// The event stream format of the HTML standard (9.2.6), from chunks of text. Pure.

const EVENT_CHARS_MAX = 1_000_000;

/**
 * A parser: `feed(chunk)` returns the events that the chunk completed, as `{event, data, id}`.
 * Comments and fields that nobody asked for are skipped; an event above a million characters too.
 */
export function createParser() {
  let rest = "";
  let data = [];
  let event = "";
  let size = 0;
  let id = "";

  const take = (line, found) => {
    if (line === "") {
      if (data.length && size <= EVENT_CHARS_MAX)
        found.push({ event: event || "message", data: data.join("\n"), id });
      data = [];
      event = "";
      size = 0;
      return;
    }
    const colon = line.indexOf(":");
    if (colon === 0) return;
    const field = colon < 0 ? line : line.slice(0, colon);
    const value = colon < 0 ? "" : line.slice(colon + 1).replace(/^ /, "");
    if (field === "event") event = value;
    else if (field === "id" && !value.includes("\0")) id = value;
    else if (field === "data") {
      size += value.length;
      if (size <= EVENT_CHARS_MAX) data.push(value);
    }
  };

  return {
    feed(chunk) {
      const found = [];
      const textSoFar = rest + chunk;
      const held = textSoFar.endsWith("\r") ? 1 : 0; // its line feed may still be on the way
      const lines = textSoFar.slice(0, textSoFar.length - held).split(/\r\n|\n|\r/);
      rest = lines.pop() + (held ? "\r" : "");
      if (rest.length > EVENT_CHARS_MAX) {
        size = EVENT_CHARS_MAX + 1;
        rest = "data:";
      }
      for (const line of lines) take(line, found);
      return found;
    },
  };
}
