// The only file that makes elements. Text goes in as text nodes, attributes by name from a list;
// nothing here or elsewhere parses markup, so what a ticket says can only ever be read.

const SVG = "http://www.w3.org/2000/svg";

/**
 * An HTML element. `props`: attributes, and `class`, `text`, `on` ({event: handler}), `data`
 * ({name: value}); `null`, `undefined` and `false` leave an attribute out, `true` sets it empty.
 * Children are nodes, text, arrays of them, or nothing. Throws for an attribute that could run
 * something: handlers as text, and links that leave this page.
 */
export function h(tag, props = {}, ...children) {
  return fill(document.createElement(tag), props, children);
}

/** An SVG element, by the same rules. */
export function s(tag, props = {}, ...children) {
  return fill(document.createElementNS(SVG, tag), props, children);
}

function fill(node, props, children) {
  for (const [name, value] of Object.entries(props)) set(node, name, value);
  append(node, children);
  return node;
}

function set(node, name, value) {
  if (name === "text") node.textContent = String(value ?? "");
  else if (name === "on")
    for (const [type, run] of Object.entries(value)) node.addEventListener(type, run);
  else if (name === "data")
    for (const [key, said] of Object.entries(value)) node.dataset[key] = String(said);
  else attribute(node, name, value);
}

/** Set, change or take away one attribute. */
export function attribute(node, name, value) {
  const lower = name.toLowerCase();
  if (lower.startsWith("on") || lower === "style" || lower === "srcdoc") {
    throw new Error(`${name} is no attribute for data`);
  }
  if (lower === "href" && value != null && !String(value).startsWith("#")) {
    throw new Error("a link of the console stays in the console");
  }
  if (value === null || value === undefined || value === false) node.removeAttribute(name);
  else {
    const text = value === true ? "" : String(value);
    if (node.getAttribute(name) !== text) node.setAttribute(name, text);
  }
}

function append(node, children) {
  for (const child of children.flat(Infinity)) {
    if (child === null || child === undefined || child === false || child === "") continue;
    node.append(child instanceof Node ? child : String(child));
  }
}

/** Change the text of a node; touches nothing when it is the same. */
export function text(node, value) {
  const said = String(value ?? "");
  if (node.textContent !== said) node.textContent = said;
}

/** Put other children into a node; who has the focus (by `id`) and what is open (by `id`) stays. */
export function swap(node, ...children) {
  const active = document.activeElement;
  const focused = active && node.contains(active) ? active.id : "";
  const open = new Map([...node.querySelectorAll("details[id]")].map((it) => [it.id, it.open]));
  node.replaceChildren();
  append(node, children);
  for (const it of node.querySelectorAll("details[id]"))
    if (open.has(it.id)) it.open = open.get(it.id);
  if (focused) node.querySelector(`#${CSS.escape(focused)}`)?.focus({ preventScroll: true });
}

/** A part of a page that is drawn anew only when its data is another. */
export function part(node, draw) {
  let before = null;
  return (data) => {
    const now = JSON.stringify(data);
    if (now === before) return;
    before = now;
    swap(node, draw(data));
  };
}

/**
 * A list whose rows stay the same nodes while their items change.
 *
 * `key(item)` names a row; `make(item)` returns `{node, update(item)}`; at most `max` rows stand.
 */
export class KeyedList {
  constructor(parent, { key, make, max = 200 }) {
    Object.assign(this, { parent, key, make, max, rows: new Map() });
  }

  /** Show these items in this order; rows of the others go. */
  set(items) {
    const shown = items.slice(0, this.max);
    const keep = new Set(shown.map(this.key));
    for (const [key, row] of this.rows) {
      if (keep.has(key)) continue;
      row.node.remove();
      this.rows.delete(key);
    }
    let place = this.parent.firstChild;
    for (const item of shown) {
      const row = this.row(item);
      if (row.node === place) place = place.nextSibling;
      else this.move(row.node, place);
    }
  }

  row(item) {
    const key = this.key(item);
    let row = this.rows.get(key);
    if (!row) {
      row = this.make(item);
      this.rows.set(key, row);
    } else if (row.item !== item) row.update(item);
    row.item = item;
    return row;
  }

  move(node, place) {
    const focused = node.contains(document.activeElement) ? document.activeElement : null;
    this.parent.insertBefore(node, place);
    focused?.focus({ preventScroll: true });
  }
}
