/** Gauges and meters as tiles: a value, what it should be, and the last hour as a line. */

import { draw, make, redraw } from "./dom.js";
import { due, panel } from "./panel.js";
import { number, spaced } from "./words.js";

const HISTORY_S = 10;
const WIDTH = 160;
const HEIGHT = 32;
const NO_VALUE = {
  "no-evidence": "nothing to work it out from yet",
  rebuilding: "being worked out anew",
  failed: "cannot be worked out: see what is wrong",
};
const TRENDS = { 1: "rising", 0: "steady", "-1": "falling" };

/** @type {Map<string, (number | null)[]>} */
const histories = new Map();

export async function refresh() {
  await Promise.all([
    panel("gauges-note", "metrics.gauges", {}, (found) => tiles("gauges", found.gauges.map(gauge))),
    panel("meters-note", "metrics.meters", {}, (found) => tiles("meters", found.meters.map(flow))),
  ]);
}

/** @typedef {{name: string, how: string, value: string, words: string, part: number | null, target: number | null,
 * met: boolean | null, top: number | null}} Tile */

/** @returns {Tile} */
function gauge(found) {
  const known = typeof found.value === "number";
  const words = known ? `target ${number(found.target)} %, ${found.window}` : (NO_VALUE[found.reason] ?? "no value");
  const met = known ? (found.met ?? found.value >= found.target) : null;
  return {
    name: found.name,
    how: found.computed_how,
    value: known ? `${number(found.value, 3)} %` : "-",
    words,
    part: known ? found.value : null,
    target: found.target,
    met,
    top: 100,
  };
}

/** @returns {Tile} */
function flow(found) {
  const known = typeof found.value === "number";
  const trend = found.trend.slope === null ? "" : `, ${TRENDS[found.trend.sign]}`;
  const words = known ? `${found.unit}${trend}` : (NO_VALUE[found.reason] ?? "no value");
  return {
    name: found.name,
    how: found.computed_how,
    value: known ? number(found.value, 3) : "-",
    words,
    part: null,
    target: null,
    met: null,
    top: null,
  };
}

/** @param {string} id @param {Tile[]} found */
function tiles(id, found) {
  for (const { name } of found) if (due(`history ${name}`, HISTORY_S)) history(id, name);
  redraw(
    id,
    found.map((tile) => [tile, histories.get(tile.name)]),
    () => found.map(drawn),
  );
}

async function history(id, name) {
  await panel(`${id}-note`, "metrics.history", { name }, (found) =>
    histories.set(
      name,
      found.points.map((point) => point.value),
    ),
  );
}

/** @param {Tile} tile */
function drawn(tile) {
  const state = tile.met === null ? false : tile.met ? "ok" : "degraded";
  const words = `${spaced(tile.name)} ${tile.value}, ${tile.words}`;
  return make(
    "div",
    { class: "tile", title: tile.how, "data-met": state },
    make("span", { class: "name" }, spaced(tile.name)),
    make("span", { class: "figure" }, tile.value),
    tile.part === null
      ? null
      : make("meter", { min: 0, max: 100, low: tile.target, high: tile.target, optimum: 100, value: tile.part, "aria-label": words }),
    make("span", { class: "note" }, tile.words),
    sparkline(histories.get(tile.name) ?? [], tile.top),
  );
}

/** The last hour as a line, broken where there was nothing; nothing at all until there is more than a dot. For the eye alone: the figure beside it says the same now.
 * @param {(number | null)[]} values @param {number | null} most the top of the scale; without one, the largest value */
export function sparkline(values, most = null) {
  if (values.filter((value) => value !== null).length < 2) return null;
  const top = most ?? Math.max(...values.map((value) => value ?? 0), 1);
  const x = (place) => (WIDTH * (place + 0.5)) / Math.max(values.length, 1);
  const y = (value) => HEIGHT - 2 - (HEIGHT - 4) * Math.min(value / top, 1);
  const lines = [];
  values.forEach((value, place) => {
    if (value === null) return;
    if (place === 0 || values[place - 1] === null) lines.push([]);
    lines.at(-1).push([x(place), y(value)]);
  });
  const path = (points) => `M${points.map(([across, down]) => `${across.toFixed(1)} ${down.toFixed(1)}`).join("L")}`;
  const below = (points) => `${path(points)}L${points.at(-1)[0].toFixed(1)} ${HEIGHT}L${points[0][0].toFixed(1)} ${HEIGHT}Z`;
  return draw(
    "svg",
    { class: "spark", viewBox: `0 0 ${WIDTH} ${HEIGHT}`, preserveAspectRatio: "none", "aria-hidden": "true" },
    ...lines.flatMap((points) => [draw("path", { class: "below", d: below(points) }), draw("path", { class: "curve", d: `${path(points)}h0` })]),
  );
}
