// What of the console needs no browser: `node --test`, run by test_modules.py where there is node.

import assert from "node:assert/strict";
import { test } from "node:test";
import { createBatch, throttle } from "../../caseworks/console/js/batch.js";
import * as format from "../../caseworks/console/js/format.js";
import { canonical, lineDiff, mergePatch } from "../../caseworks/console/js/json.js";
import { layered } from "../../caseworks/console/js/layers.js";
import { waitMs } from "../../caseworks/console/js/live.js";
import { link, pageName, parse } from "../../caseworks/console/js/router.js";
import { createParser } from "../../caseworks/console/js/sse.js";

test("events come out whole however they are cut", () => {
  const stream = "retry: 1\n\n: hi\nid: 7\nevent: case\ndata: {\"a\":\r\ndata: 1}\r\n\r\nevent: x\ndata: é\n\n";
  for (let size = 1; size <= stream.length; size += 1) {
    const parser = createParser();
    const found = [];
    for (let at = 0; at < stream.length; at += size) found.push(...parser.feed(stream.slice(at, at + size)));
    assert.deepEqual(found, [
      { event: "case", data: '{"a":\n1}', id: "7" },
      { event: "x", data: "é", id: "7" },
    ]);
  }
});

test("an endless event is skipped and the next one is read", () => {
  const parser = createParser();
  parser.feed("data: " + "x".repeat(1_500_000));
  parser.feed("x".repeat(1_500_000));
  assert.deepEqual(parser.feed("\n\ndata: ok\n\n").map((it) => it.data), ["ok"]);
});

test("a batch keeps the last word on each key and no more than its bound", () => {
  const frames = [];
  const seen = [];
  const batch = createBatch({ key: (it) => it.id, max: 2, apply: (items) => seen.push(items), schedule: (run) => frames.push(run) });
  for (const [id, n] of [["a", 1], ["b", 1], ["a", 2], ["c", 1]]) batch.push({ id, n });
  assert.equal(frames.length, 1);
  frames[0]();
  assert.deepEqual(seen, [[{ id: "a", n: 2 }, { id: "c", n: 1 }]]);
  assert.equal(batch.dropped, 1);
});

test("a throttle runs at once, and once more for all that came meanwhile", () => {
  let clock = 0;
  let runs = 0;
  const later = [];
  const go = throttle(() => { runs += 1; }, 100, { now: () => clock, later: (run, ms) => later.push([run, ms]) });
  go();
  clock = 30;
  go();
  go();
  assert.equal(runs, 1);
  assert.equal(later.length, 1);
  assert.equal(later[0][1], 70);
  clock = 100;
  later[0][0]();
  assert.equal(runs, 2);
});

test("waits double up to fifteen seconds and are never all the same", () => {
  assert.equal(waitMs(0, () => 1), 500);
  assert.equal(waitMs(3, () => 1), 4000);
  assert.equal(waitMs(99, () => 1), 15_000);
  assert.equal(waitMs(0, () => 0), 375);
});

test("addresses come back as they were, whatever an id holds", () => {
  for (const id of ["a/b", "é?#&%", "<img src=x>", "..", "a b", "%zz"]) {
    assert.deepEqual(parse(link(["cases", id], { q: id, empty: "" })), { path: ["cases", id], query: { q: id } });
  }
  assert.deepEqual(parse("#/cases/%zz").path, ["cases", "%zz"]);
  assert.deepEqual(parse("#main").path, []);
});

test("pages are found by their own names alone", () => {
  const routes = { "": 1, cases: 1, "cases/:id": 1 };
  assert.equal(pageName(parse("#/"), routes), "");
  assert.equal(pageName(parse("#/cases/1"), routes), "cases/:id");
  assert.equal(pageName(parse("#/constructor"), routes), undefined);
});

test("a merge patch says what changed, and nothing when nothing did", () => {
  assert.equal(mergePatch({ a: 1, b: [1] }, { b: [1], a: 1 }), undefined);
  assert.deepEqual(mergePatch({ a: 1, b: { c: 2, d: 3 } }, { b: { c: 4 } }), { a: null, b: { d: null, c: 4 } });
  assert.deepEqual(mergePatch([1], [2]), [2]);
  assert.throws(() => mergePatch({ a: 1 }, { a: null }), /null/);
  assert.throws(() => mergePatch({}, { a: { b: null } }), /null/);
  const patch = mergePatch({}, JSON.parse('{"__proto__": {"x": 1}}'));
  assert.equal(Object.hasOwn(patch, "__proto__"), true);
  assert.equal({}.x, undefined);
});

test("the same value is the same text", () => {
  assert.equal(canonical({ b: 1, a: { d: 1, c: 2 } }), canonical({ a: { c: 2, d: 1 }, b: 1 }));
});

test("a difference is the fewest lines that say it", () => {
  assert.deepEqual(lineDiff("a\nb\nc\nd", "a\nc\nx\nd"), [[" ", "a"], ["-", "b"], [" ", "c"], ["+", "x"], [" ", "d"]]);
  const long = (mark) => Array.from({ length: 3000 }, (_, n) => `${mark}${n}`).join("\n");
  assert.equal(lineDiff(long("a"), long("b")).length, 6000);
});

test("steps stand to the right of what they wait for, and never on each other", () => {
  const steps = [["a"], ["b", "a"], ["c", "a"], ["d", "b", "c"], ["e", "a", "d"]].map(([name, ...after]) => ({ name, after }));
  const { nodes, edges, width, height } = layered(steps);
  const at = Object.fromEntries(nodes.map((node) => [node.name, node]));
  for (const step of steps) for (const other of step.after) assert.ok(at[other].x < at[step.name].x);
  assert.equal(new Set(nodes.map(({ x, y }) => `${x} ${y}`)).size, nodes.length);
  assert.equal(edges.length, 6);
  for (const { x, y } of nodes) assert.ok(x >= 0 && y >= 0 && x < width && y < height);
});

test("circles, strangers and nothing at all are drawn too", () => {
  assert.deepEqual(layered([]), { nodes: [], edges: [], width: 0, height: 0 });
  const circle = layered([{ name: "a", after: ["b"] }, { name: "b", after: ["a", "who"] }]);
  assert.equal(circle.nodes.length, 2);
  assert.equal(circle.edges.length, 1);
});

test("a thousand steps are laid out in a moment", () => {
  const steps = Array.from({ length: 1000 }, (_, n) => ({ name: `s${n}`, after: n ? [`s${(n - 1) >> 1}`] : [] }));
  const before = performance.now();
  layered(steps);
  assert.ok(performance.now() - before < 2000);
});

test("values read as people say them", () => {
  const now = Date.parse("2026-01-02T00:00:00Z");
  assert.equal(format.relative("2026-01-01T23:58:00Z", now), "2 min ago");
  assert.equal(format.relative("2026-01-02T04:00:00Z", now), "in 4 h");
  assert.equal(format.relative("soon", now), "soon");
  assert.equal(format.usd("0.00421"), "$0.00421");
  assert.equal(format.usd("1234.5"), "$1,234.50");
  assert.equal(format.usd(""), "–");
  assert.equal(format.ms(null), "–");
  assert.equal(format.ms(1840), "1.8 s");
  assert.equal(format.percent(0.583), "58 %");
  assert.equal(format.since("2h", now), "2026-01-01T22:00:00.000Z");
  assert.equal(format.tone("constructor"), "idle");
});
