// Updates come as they like, the screen is painted sixty times a second: between two frames the last
// word on each key is kept, and no more than `max` keys.

/**
 * `push(item)` keeps the item under `key(item)`; `apply(items)` gets them once a frame, oldest
 * first. `schedule` runs a function later (an animation frame); `dropped` counts what `max` cost.
 */
export function createBatch({
  key,
  apply,
  max = 1000,
  schedule = (run) => requestAnimationFrame(run),
}) {
  const waiting = new Map();
  let due = false;
  const flush = () => {
    due = false;
    const items = [...waiting.values()];
    waiting.clear();
    apply(items);
  };
  const batch = {
    dropped: 0,
    push(item) {
      const name = key(item);
      waiting.delete(name);
      waiting.set(name, item);
      if (waiting.size > max) {
        waiting.delete(waiting.keys().next().value);
        batch.dropped += 1;
      }
      if (!due) {
        due = true;
        schedule(flush);
      }
    },
  };
  return batch;
}

/** `run` now, then at most once in `everyMs`; a call in between is made up for at the end of it. */
export function throttle(run, everyMs, { later = setTimeout, now = () => performance.now() } = {}) {
  let last = -Infinity;
  let due = false;
  return () => {
    if (due) return;
    const wait = last + everyMs - now();
    const go = () => {
      due = false;
      last = now();
      run();
    };
    if (wait <= 0) go();
    else {
      due = true;
      later(go, wait);
    }
  };
}
