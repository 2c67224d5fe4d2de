// Where the steps of a workflow stand: a layered drawing (Sugiyama, Tagawa, Toda 1981). Pure.
// Layers by longest path, lanes for edges that pass a layer, order by barycentre.

const SWEEPS = 4;

/**
 * `steps`: `[{name, after: [name…]}]`. Returns `{nodes: [{name, layer, x, y}], edges: [{from, to,
 * points: [[x, y]…]}], width, height}`; sizes come from `box` ({width, height, gapX, gapY}), x and
 * y are the top left corner. Names that no step has, and edges that would close a circle, are left out.
 */
export function layered(steps, box = { width: 168, height: 52, gapX: 56, gapY: 20 }) {
  const known = new Set(steps.map((step) => step.name));
  const after = new Map(
    steps.map((step) => [
      step.name,
      [...new Set(step.after ?? [])].filter((name) => known.has(name) && name !== step.name),
    ]),
  );
  const depth = depths(after);
  const { layers, chains } = lanes(after, depth);
  order(layers, chains);
  const place = places(layers, box);
  const nodes = steps.map((step) => ({
    name: step.name,
    layer: depth.get(step.name),
    ...place.get(step.name),
  }));
  const edges = chains.map((chain) => ({
    from: chain[0],
    to: chain.at(-1),
    points: route(chain, place, box),
  }));
  const tallest = Math.max(0, ...layers.map((layer) => layer.length));
  return {
    nodes,
    edges,
    width: layers.length * (box.width + box.gapX) - (layers.length ? box.gapX : 0),
    height: tallest * (box.height + box.gapY) - (tallest ? box.gapY : 0),
  };
}

function depths(after) {
  const depth = new Map();
  const under = new Set();
  const visit = (name) => {
    if (depth.has(name)) return depth.get(name);
    under.add(name);
    const before = after.get(name).filter((other) => !under.has(other));
    after.set(name, before);
    const found = before.length ? 1 + Math.max(...before.map(visit)) : 0;
    under.delete(name);
    depth.set(name, found);
    return found;
  };
  for (const name of after.keys()) visit(name);
  return depth;
}

/** Edges as chains of one stop a layer; the stops between are lanes of their own. */
function lanes(after, depth) {
  const layers = Array.from({ length: Math.max(-1, ...depth.values()) + 1 }, () => []);
  for (const [name, layer] of depth) layers[layer].push(name);
  const chains = [];
  for (const [name, before] of after) {
    for (const other of before) {
      const chain = [other];
      for (let layer = depth.get(other) + 1; layer < depth.get(name); layer += 1) {
        const lane = `${other}\0${name}\0${layer}`;
        layers[layer].push(lane);
        chain.push(lane);
      }
      chains.push([...chain, name]);
    }
  }
  return { layers, chains };
}

function order(layers, chains) {
  const left = new Map();
  const right = new Map();
  const note = (map, key, value) => map.set(key, [...(map.get(key) ?? []), value]);
  for (const chain of chains) {
    for (let i = 1; i < chain.length; i += 1) {
      note(left, chain[i], chain[i - 1]);
      note(right, chain[i - 1], chain[i]);
    }
  }
  const sort = (layer, beside, neighbours) => {
    const at = new Map(beside.map((name, index) => [name, index - (beside.length - 1) / 2]));
    const here = new Map(layer.map((name, index) => [name, index - (layer.length - 1) / 2]));
    const weight = (name) => {
      const found = (neighbours.get(name) ?? []).map((other) => at.get(other));
      return found.length
        ? found.reduce((sum, value) => sum + value, 0) / found.length
        : here.get(name);
    };
    const weights = new Map(layer.map((name) => [name, weight(name)]));
    layer.sort((a, b) => weights.get(a) - weights.get(b));
  };
  for (let sweep = 0; sweep < SWEEPS; sweep += 1) {
    for (let i = 1; i < layers.length; i += 1) sort(layers[i], layers[i - 1], left);
    for (let i = layers.length - 2; i >= 0; i -= 1) sort(layers[i], layers[i + 1], right);
  }
}

function places(layers, box) {
  const tallest = Math.max(0, ...layers.map((layer) => layer.length));
  const place = new Map();
  layers.forEach((layer, column) => {
    const from = ((tallest - layer.length) * (box.height + box.gapY)) / 2;
    layer.forEach((name, row) => {
      place.set(name, {
        x: column * (box.width + box.gapX),
        y: from + row * (box.height + box.gapY),
      });
    });
  });
  return place;
}

function route(chain, place, box) {
  const points = [];
  chain.forEach((name, index) => {
    const { x, y } = place.get(name);
    if (index > 0) points.push([x, y + box.height / 2]);
    if (index < chain.length - 1) points.push([x + box.width, y + box.height / 2]);
  });
  return points;
}
