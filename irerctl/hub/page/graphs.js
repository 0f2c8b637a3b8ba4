/** Drawings that are no curves: a map of what flows where, a way through rules, shifts over time, bars. Arrays in, one node out. */

import { draw } from "./dom.js";
import { day, number } from "./words.js";

const BOX = { width: 200, height: 46, gap: 14 };
const COLUMN = 320;
const BOW = 70;
const LETTERS_MAX = 24;

/** @typedef {{id: string, column: number, label: string, under?: string, kind?: string, words?: string}} Box */
/** @typedef {{from: string, to: string, weight?: number, words?: string, kind?: string}} Edge */

/** Boxes in columns, joined by bands whose width is their share. @param {Box[]} boxes @param {Edge[]} edges @param {string} words */
export function graph(boxes, edges, words) {
  const columns = Math.max(...boxes.map((box) => box.column), 0) + 1;
  const places = new Map();
  const rows = Array.from({ length: columns }, () => 0);
  for (const box of boxes) places.set(box.id, { box, row: rows[box.column]++ });
  const tallest = Math.max(...rows, 1);
  const step = BOX.height + BOX.gap;
  const height = tallest * step + BOX.gap;
  const width = (columns - 1) * COLUMN + BOX.width + BOW;
  for (const place of places.values()) {
    place.x = 4 + place.box.column * COLUMN;
    place.y = BOX.gap + place.row * step + ((tallest - rows[place.box.column]) * step) / 2;
  }
  const heaviest = Math.max(...edges.map((edge) => edge.weight ?? 0), 0);
  return draw(
    "svg",
    { viewBox: `0 0 ${width} ${height}`, width, role: "img", "aria-label": words, class: "graph" },
    ...edges
      .filter((edge) => places.has(edge.from) && places.has(edge.to))
      .map((edge) => band(places.get(edge.from), places.get(edge.to), edge, heaviest)),
    ...[...places.values()].map(node),
  );
}

function band(from, to, edge, heaviest) {
  const [x, y, right, below] = [from.x + BOX.width, from.y + BOX.height / 2, to.x, to.y + BOX.height / 2];
  const middle = (x + right) / 2;
  // Two in one column are joined by a bow beside them.
  const way =
    from.x === to.x
      ? `M${x} ${y}C${x + BOW} ${y} ${x + BOW} ${below} ${x} ${below}`
      : `M${x} ${y}C${middle} ${y} ${middle} ${below} ${right} ${below}`;
  const wide = heaviest > 0 ? 1.5 + (12 * (edge.weight ?? 0)) / heaviest : 1.5;
  return draw(
    "path",
    { class: `band ${edge.kind ?? ""}`, "stroke-width": wide.toFixed(1), d: way },
    edge.words ? draw("title", {}, edge.words) : null,
  );
}

function node({ box, x, y }) {
  const lines = box.under ? [y + 19, y + 37] : [y + 28];
  return draw(
    "g",
    { class: `box ${box.kind ?? ""}` },
    draw("title", {}, box.words ?? box.label),
    draw("rect", { x, y, width: BOX.width, height: BOX.height, rx: 7 }),
    draw("text", { x: x + 10, y: lines[0], class: "name" }, short(box.label)),
    box.under ? draw("text", { x: x + 10, y: lines[1] }, short(box.under)) : null,
  );
}

function short(text) {
  return text.length > LETTERS_MAX ? `${text.slice(0, LETTERS_MAX - 1)}…` : text;
}

/** @typedef {{source: string, at: number, words: string, kind: "up" | "down" | "turn"}} Shift */

/** A row for each source; a tip up or down for a metric that shifted, a dot for a source that came into another regime.
 * @param {string[]} sources @param {Shift[]} shifts @param {number} from @param {number} to */
export function timeline(sources, shifts, from, to) {
  const [left, row, width] = [190, 42, 900];
  const height = sources.length * row + 44;
  const span = Math.max(to - from, 1);
  const x = (moment) => left + ((width - left - 20) * (moment - from)) / span;
  const y = (place) => 28 + place * row;
  return draw(
    "svg",
    {
      viewBox: `0 0 ${width} ${height}`,
      role: "img",
      width,
      "aria-label": `${shifts.length} shifts of ${sources.length} sources; the table below has them all.`,
      class: "graph",
    },
    ...sources.flatMap((source, place) => [
      draw("path", { class: "axis", d: `M${left} ${y(place)}H${width - 20}` }),
      draw("text", { x: left - 12, y: y(place) + 6, "text-anchor": "end" }, short(source)),
    ]),
    ...shifts.map((shift) => {
      const [cx, line] = [x(shift.at), y(sources.indexOf(shift.source))];
      const cy = shift.kind === "turn" ? line : line - 14;
      const title = draw("title", {}, shift.words);
      if (shift.kind === "turn") return draw("circle", { class: "turn", cx, cy, r: 6 }, title);
      const tip =
        shift.kind === "up"
          ? `M${cx - 8} ${cy + 6}L${cx} ${cy - 9}L${cx + 8} ${cy + 6}Z`
          : `M${cx - 8} ${cy - 6}L${cx} ${cy + 9}L${cx + 8} ${cy - 6}Z`;
      return draw("path", { class: "mark", d: tip }, title);
    }),
    draw("text", { x: left, y: height - 8 }, day(from)),
    draw("text", { x: width - 20, y: height - 8, "text-anchor": "end" }, day(to)),
  );
}

/** @typedef {{label: string, value: number, words: string, chosen: boolean, allowed: boolean}} Bar */

/** Bars to both sides of nought. @param {Bar[]} bars @param {string} words */
export function bars(found, words) {
  const [left, right, row, width] = [150, 110, 30, 600];
  const low = Math.min(...found.map((bar) => bar.value), 0);
  const high = Math.max(...found.map((bar) => bar.value), 0);
  const x = (value) => left + ((width - left - right) * (value - low)) / (high - low || 1);
  return draw(
    "svg",
    { viewBox: `0 0 ${width} ${found.length * row + 8}`, width, role: "img", "aria-label": words, class: "graph small" },
    ...found.flatMap((bar, place) => {
      const y = 4 + place * row;
      const [from, to] = [Math.min(x(0), x(bar.value)), Math.max(x(0), x(bar.value))];
      return [
        draw("text", { x: left - 12, y: y + 19, "text-anchor": "end", class: bar.chosen ? "name" : "" }, bar.label),
        draw(
          "rect",
          {
            class: `bar ${bar.chosen ? "chosen" : ""} ${bar.allowed ? "" : "barred"}`,
            x: from,
            y: y + 4,
            width: Math.max(to - from, 2),
            height: row - 10,
            rx: 3,
          },
          draw("title", {}, bar.words),
        ),
        draw("text", { x: to + 8, y: y + 19 }, bar.words),
      ];
    }),
    draw("path", { class: "zero", d: `M${x(0)} 0V${found.length * row + 8}` }),
  );
}

/** @typedef {{label: string, low: number | null, high: number | null, value: number | null, words: string}} Interval */

/** Values between -1 and 1 with the intervals they may lie in, and one that was claimed. @param {Interval[]} found @param {number} claimed */
export function correlations(found, claimed) {
  const [left, row, width] = [270, 36, 640];
  const height = found.length * row + 46;
  const x = (value) => left + ((width - left - 24) * (value + 1)) / 2;
  return draw(
    "svg",
    {
      viewBox: `0 0 ${width} ${height}`,
      width,
      role: "img",
      "aria-label": found.map((each) => `${each.label}: ${each.words}`).join("; "),
      class: "graph small",
    },
    draw("path", { class: "axis", d: `M${x(0)} 0V${height - 40}` }),
    draw("path", { class: "goal", d: `M${x(claimed)} 0V${height - 40}` }),
    draw("text", { class: "goal-text", x: x(claimed), y: height - 22, "text-anchor": "middle" }, `claimed ${number(claimed)}`),
    ...[-1, 0].map((tick) => draw("text", { x: x(tick), y: height - 22, "text-anchor": "middle" }, number(tick))),
    ...found.flatMap((each, place) => {
      const y = 22 + place * row;
      const text = draw("text", { x: 0, y: y + 6 }, each.label);
      if (each.value === null) return [text, draw("text", { x: x(-1), y: y + 6 }, "too few rows")];
      const interval =
        each.low === null || each.high === null
          ? null
          : draw("path", { class: "band", "stroke-width": 6, d: `M${x(each.low)} ${y}H${x(each.high)}` });
      return [text, interval, draw("circle", { class: "dot front", cx: x(each.value), cy: y, r: 6 }, draw("title", {}, each.words))];
    }),
  );
}
