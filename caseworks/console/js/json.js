// JSON for people: one way to write it, what changed between two, and the patch that says so. Pure.

const LINES_MAX = 2000;

/** Sorted keys, two spaces: the same value is the same text. */
export function canonical(value) {
  return JSON.stringify(sorted(value), null, 2) ?? "null";
}

function sorted(value) {
  if (Array.isArray(value)) return value.map(sorted);
  if (value === null || typeof value !== "object") return value;
  return Object.fromEntries(
    Object.keys(value)
      .sort()
      .map((key) => [key, sorted(value[key])]),
  );
}

/** Text that may be JSON: its value, or `undefined`. */
export function parsed(text) {
  try {
    return JSON.parse(text);
  } catch {
    return undefined;
  }
}

/**
 * What turns `before` into `after` by RFC 7396, or `undefined` when they are the same. Throws where
 * a merge patch cannot say it: null stands for "take it away" there.
 */
export function mergePatch(before, after) {
  if (!isObject(before) || !isObject(after)) {
    if (canonical(before) === canonical(after)) return undefined;
    refuseNulls(after);
    return after;
  }
  const patch = {};
  for (const key of Object.keys(before)) if (!(key in after)) put(patch, key, null);
  for (const [key, value] of Object.entries(after)) {
    if (Object.hasOwn(before, key) && canonical(before[key]) === canonical(value)) continue;
    if (value === null)
      throw new Error(`a merge patch cannot set ${key} to null; leave it out or give a value`);
    if (!Object.hasOwn(before, key)) refuseNulls(value);
    put(patch, key, Object.hasOwn(before, key) ? mergePatch(before[key], value) : value);
  }
  return Object.keys(patch).length ? patch : undefined;
}

function refuseNulls(value) {
  if (!isObject(value)) return;
  for (const [key, inner] of Object.entries(value)) {
    if (inner === null)
      throw new Error(`a merge patch cannot set ${key} to null; leave it out or give a value`);
    refuseNulls(inner);
  }
}

function put(target, key, value) {
  Object.defineProperty(target, key, {
    value,
    enumerable: true,
    configurable: true,
    writable: true,
  });
}

function isObject(value) {
  return value !== null && typeof value === "object" && !Array.isArray(value);
}

/**
 * The lines of two texts as `[mark, line]`, mark one of " ", "-", "+": a longest common
 * subsequence between the ends that are the same. Texts above 2,000 lines are told apart as a whole.
 */
export function lineDiff(before, after) {
  const a = before.split("\n");
  const b = after.split("\n");
  let head = 0;
  while (head < a.length && head < b.length && a[head] === b[head]) head += 1;
  let tail = 0;
  while (tail < a.length - head && tail < b.length - head && a.at(-1 - tail) === b.at(-1 - tail))
    tail += 1;
  const same = (lines) => lines.map((line) => [" ", line]);
  return [
    ...same(a.slice(0, head)),
    ...middle(a.slice(head, a.length - tail), b.slice(head, b.length - tail)),
    ...same(tail ? a.slice(-tail) : []),
  ];
}

function middle(a, b) {
  const gone = (lines) => lines.map((line) => ["-", line]);
  const come = (lines) => lines.map((line) => ["+", line]);
  if (!a.length || !b.length || a.length > LINES_MAX || b.length > LINES_MAX)
    return [...gone(a), ...come(b)];
  const width = b.length + 1;
  const best = new Uint16Array((a.length + 1) * width);
  for (let i = a.length - 1; i >= 0; i -= 1) {
    for (let j = b.length - 1; j >= 0; j -= 1) {
      const here = i * width + j;
      best[here] =
        a[i] === b[j] ? best[here + width + 1] + 1 : Math.max(best[here + width], best[here + 1]);
    }
  }
  const told = [];
  let i = 0;
  let j = 0;
  while (i < a.length && j < b.length) {
    if (a[i] === b[j]) {
      told.push([" ", a[i]]);
      i += 1;
      j += 1;
    } else if (best[(i + 1) * width + j] >= best[i * width + j + 1]) told.push(["-", a[i++]]);
    else told.push(["+", b[j++]]);
  }
  return [...told, ...gone(a.slice(i)), ...come(b.slice(j))];
}
