/**
 * The only place that makes nodes. Text becomes text nodes and attributes are set by name: nothing here, and nothing in the
 * page, turns a string into markup, so no stored name can become code.
 */

const SVG = "http://www.w3.org/2000/svg";

/** @param {string} id */
export function at(id) {
  const found = document.getElementById(id);
  if (!found) throw new Error(`the page has no #${id}`);
  return found;
}

/** @typedef {Node | string | number | null | undefined} Child */

/** Make an HTML element. @param {string} tag @param {Record<string, unknown>} attributes @param {...Child} children */
export function make(tag, attributes = {}, ...children) {
  return fill(document.createElement(tag), attributes, children);
}

/** Make an SVG element. @param {string} tag @param {Record<string, unknown>} attributes @param {...Child} children */
export function draw(tag, attributes = {}, ...children) {
  return fill(document.createElementNS(SVG, tag), attributes, children);
}

function fill(element, attributes, children) {
  for (const [name, value] of Object.entries(attributes)) {
    if (value !== null && value !== undefined && value !== false) element.setAttribute(name, value === true ? "" : String(value));
  }
  element.append(...children.filter((child) => child !== null && child !== undefined).map((child) => (child instanceof Node ? child : String(child))));
  return element;
}

/** Write a text only where it differs, so that screen readers hear each news once. @param {string} id @param {unknown} text */
export function say(id, text) {
  const place = at(id);
  const words = String(text ?? "");
  if (place.textContent !== words) place.textContent = words;
}

/** Show or hide. @param {string} id @param {boolean} shown */
export function show(id, shown) {
  at(id).hidden = !shown;
}

const drawn = new Map();

/** Put nodes in place of what is there, only when what they show has changed: a selection or a scrolled row stays.
 * @param {string} id @param {unknown} value what is shown @param {() => Node[]} nodes */
export function redraw(id, value, nodes) {
  const now = JSON.stringify(value);
  if (drawn.get(id) === now) return;
  drawn.set(id, now);
  at(id).replaceChildren(...nodes());
}

/** A row of a table; its first cell is its header. @param {Child[]} cells @param {string[]} classes of the cells */
export function row(cells, classes = []) {
  return make(
    "tr",
    {},
    ...cells.map((cell, place) => make(place === 0 ? "th" : "td", { scope: place === 0 && "row", class: classes[place] || false }, cell)),
  );
}

/** @param {string} health ok, degraded, failed or another word */
export function badge(health, text = health) {
  return make("span", { class: "badge", "data-health": health }, text);
}
