// One stream of server-sent events for the whole page, read with fetch: EventSource could not send
// the Authorization header. Comes back by itself; where it cannot, pages are told to poll.

import { createParser } from "./sse.js";

const SILENCE_MS = 45_000; // the server says something every 15 s
const POLL_MS = 5_000;
const WAIT_MAX_MS = 15_000;
const SHRINK_MS = 3_000;

/** How long before try number `failures`: doubling from half a second, a quarter of it by chance. */
export function waitMs(failures, dice = Math.random) {
  const whole = Math.min(WAIT_MAX_MS, 500 * 2 ** Math.min(failures, 10));
  return whole * (0.75 + 0.25 * dice());
}

/**
 * `want(topics, handlers)` subscribes (`handlers[event](data)`; `resync` after each connection and
 * `poll` every 5 s without one) and returns how to unsubscribe. `onState({state, retryInMs})` hears
 * "connecting", "live", "waiting" or "denied"; `allows(topic)` says what this key may hear.
 */
export function createLive({ api, onState = () => {}, allows = () => true }) {
  const wishes = new Set();
  let failures = 0;
  let lastId = "";
  let joined = new Set();
  let started = false;
  let current = null;
  let timer = 0;
  let live = false;

  const topics = () => new Set([...wishes].flatMap((wish) => wish.topics).filter(allows));
  const tell = (event, data) => {
    for (const wish of wishes) wish.handlers[event]?.(data);
  };
  const state = (name, retryInMs = 0) => {
    live = name === "live";
    onState({ state: name, retryInMs });
  };

  function connect() {
    clearTimeout(timer);
    current?.abort();
    current = null;
    joined = topics();
    if (joined.size) run([...joined].sort().join(","), (current = new AbortController()));
  }

  async function run(wanted, mine) {
    if (!live) state("connecting");
    let denied = false;
    try {
      const resume = lastId ? { "Last-Event-ID": lastId } : {};
      const answer = await fetch(`${api.base}/stream?topics=${encodeURIComponent(wanted)}`, {
        headers: { Accept: "text/event-stream", ...resume, ...api.headers() },
        signal: mine.signal,
        cache: "no-store",
      });
      denied = answer.status === 401 || answer.status === 403;
      if (!answer.ok || !(answer.headers.get("content-type") ?? "").startsWith("text/event-stream"))
        throw new Error(`stream: ${answer.status}`);
      failures = 0;
      state("live");
      tell("resync");
      await listen(answer.body.getReader(), mine);
    } catch {
      // Whatever ended it, the next try says whether it still holds.
    }
    if (current !== mine) return;
    mine.abort();
    if (denied) {
      state("denied");
      return;
    }
    const wait = waitMs(failures);
    failures += 1;
    state("waiting", wait);
    timer = setTimeout(connect, wait);
  }

  async function listen(reader, mine) {
    const parser = createParser();
    const decoder = new TextDecoder();
    for (;;) {
      const silence = setTimeout(() => mine.abort(), SILENCE_MS);
      const { done, value } = await reader.read().finally(() => clearTimeout(silence));
      if (done) return;
      for (const { event, data, id } of parser.feed(decoder.decode(value, { stream: true }))) {
        if (id) lastId = id;
        try {
          tell(event, JSON.parse(data));
        } catch (error) {
          if (!(error instanceof SyntaxError)) throw error;
          console.warn("an event that is no JSON was skipped", event);
        }
      }
    }
  }

  setInterval(() => {
    if (!live) tell("poll");
  }, POLL_MS);

  // What is missing is asked for at once; what nobody wants any more may come for a little while.
  let changing = 0;
  const changed = () => {
    if (!started) return;
    clearTimeout(changing);
    const wanted = topics();
    const missing = [...wanted].some((topic) => !joined.has(topic));
    if (missing || wanted.size < joined.size)
      changing = setTimeout(connect, missing ? 0 : SHRINK_MS);
  };

  return {
    connect() {
      started = true;
      failures = 0;
      connect();
    },
    want(names, handlers) {
      const wish = { topics: names, handlers };
      wishes.add(wish);
      changed();
      return () => {
        wishes.delete(wish);
        changed();
      };
    },
  };
}
