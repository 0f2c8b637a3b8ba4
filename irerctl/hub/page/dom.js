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
  element.append(...children.filter((child) => child !== null && child !== undefined).map((child) => (child instanceof Node ? child : plain(child))));
  return element;
}

const TURNING = /[\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069]/g;

/** A text in which no character turns round how the rest is read: a name could look like any other. @param {unknown} text */
function plain(text) {
  return String(text).replace(TURNING, (sign) => `\\u${sign.charCodeAt(0).toString(16).padStart(4, "0")}`);
}

/** Write a text only where it differs, so that screen readers hear each news once. @param {string} id @param {unknown} text */
export function say(id, text) {
  const place = at(id);
  const words = plain(text ?? "");
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
  const place = at(id);
  const held = place.contains(document.activeElement) ? document.activeElement?.getAttribute("aria-label") : null;
  place.replaceChildren(...nodes());
  // Whoever had come to a button by keyboard stays there.
  if (held) [...place.querySelectorAll("button")].find((button) => button.getAttribute("aria-label") === held)?.focus();
}

/** A row of a table; its first cell is its header. @param {Child[]} cells @param {string[]} classes of the cells */
export function row(cells, classes = []) {
  return make(
    "tr",
    {},
    ...cells.map((cell, place) => make(place === 0 ? "th" : "td", { scope: place === 0 && "row", class: classes[place] || false }, cell)),
  );
}

/** Rows in place of those of a table's body; where there are none, a line that says so.
 * @param {string} id @param {Child[][]} rows @param {string[]} classes of the cells @param {string} none @param {(cells: any[]) => Child[]} shown */
export function table(id, rows, classes = [], none = "none yet", shown = (cells) => cells) {
  redraw(id, rows, () =>
    rows.length ? rows.map((cells) => row(shown(cells), classes)) : [make("tr", {}, make("td", { colspan: 12, class: "note" }, none))],
  );
}

/** The choices of a select; what was chosen stays chosen.
 * @param {string} id @param {string[]} names @param {(name: string) => string} words for each */
export function options(id, names, words = (name) => name) {
  const chosen = at(id).value;
  redraw(id, names, () => names.map((name) => make("option", { value: name }, words(name))));
  if (names.includes(chosen)) at(id).value = chosen;
}

/** Names with their values, as a list of definitions. @param {string} id @param {[string, Child][]} found */
export function pairs(id, found) {
  redraw(id, found, () => found.map(([name, value]) => make("div", {}, make("dt", {}, name), make("dd", {}, value))));
}

/** A button in a row. @param {string} words @param {string} name for screen readers @param {() => void} deed */
export function deed(words, name, deed) {
  const button = make("button", { type: "button", class: "small", "aria-label": name }, words);
  button.addEventListener("click", deed);
  return button;
}

/** A form whose sending is a deed and never a navigation. @param {string} id @param {() => void} deed */
export function sent(id, deed) {
  at(id).addEventListener("submit", (asked) => {
    asked.preventDefault();
    deed();
  });
}

/** A meter with its words. @param {number} value @param {number} max @param {string} words
 * @param {Record<string, number>} more such as from where on it is `low` or `high`, and what is best */
export function meter(value, max, words, more = {}) {
  return make("meter", { min: 0, max: Math.max(max, 1), value, title: words, "aria-label": words, ...more }, words);
}

/** @param {string} health ok, degraded, failed or another word */
export function badge(health, text = health) {
  return make("span", { class: "badge", "data-health": health }, text);
}
