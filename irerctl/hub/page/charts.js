/** Drawings of a hunt: its front, a spectrum, a field. Arrays in, one node out; every one has its meaning in words beside it. */

import { draw, make } from "./dom.js";
import { number } from "./words.js";

const WIDTH = 720;
const HEIGHT = 340;
const LEFT = 84;
const RIGHT = 26;
const TOP = 16;
const BOTTOM = 52;

/** @typedef {{to: (value: number) => number, ticks: number[]}} Axis */

/** An axis of decades. What is zero or below stands at its end, for it has no logarithm.
 * @param {number[]} values @param {number} start @param {number} stop @returns {Axis} */
export function decades(values, start, stop) {
  const logs = values.filter((value) => value > 0).map(Math.log10);
  const low = Math.floor(Math.min(...logs, 0) - 0.2);
  const high = Math.max(Math.ceil(Math.max(...logs, low + 1)), low + 1);
  const step = Math.ceil((high - low) / 6);
  const ticks = [];
  for (let power = low; power <= high; power += step) ticks.push(10 ** power);
  const part = (value) => (value > 0 ? Math.min(Math.max((Math.log10(value) - low) / (high - low), 0), 1) : 0);
  return { to: (value) => start + (stop - start) * part(value), ticks };
}

/** An axis of even steps. @param {number} low @param {number} high @param {number} start @param {number} stop @returns {Axis} */
export function even(low, high, start, stop) {
  const wide = high > low ? high - low : 1;
  const rough = wide / 6;
  const power = 10 ** Math.floor(Math.log10(rough));
  const step = [1, 2, 5, 10].map((factor) => factor * power).find((each) => each >= rough) ?? 10 * power;
  const ticks = [];
  for (let tick = Math.ceil(low / step) * step; tick <= low + wide * (1 + 1e-9); tick += step) ticks.push(Number(tick.toPrecision(6)));
  return { to: (value) => start + ((stop - start) * (value - low)) / wide, ticks };
}

function frame(words, across, up, acrossName, upName) {
  const base = HEIGHT - BOTTOM;
  return draw(
    "svg",
    { viewBox: `0 0 ${WIDTH} ${HEIGHT}`, role: "img", "aria-label": words },
    draw("path", { class: "axis", fill: "none", d: `M${LEFT} ${TOP}V${base}H${WIDTH - RIGHT}` }),
    ...across.ticks.map((tick) => draw("text", { x: across.to(tick), y: base + 21, "text-anchor": "middle" }, number(tick, 2))),
    ...up.ticks.map((tick) => draw("text", { x: LEFT - 6, y: up.to(tick) + 4, "text-anchor": "end" }, number(tick, 2))),
    draw("text", { x: (LEFT + WIDTH - RIGHT) / 2, y: HEIGHT - 6, "text-anchor": "middle" }, acrossName),
    draw("text", { x: 0, y: 0, "text-anchor": "middle", transform: `translate(16 ${(TOP + base) / 2}) rotate(-90)` }, upName),
  );
}

/** @typedef {{sse: number, h: number, front: boolean, best: boolean, name: string}} Run */

/** Every run with a score, those on the front joined. @param {Run[]} runs @param {{sse: number, h: number}} goal */
export function front(runs, goal) {
  const base = HEIGHT - BOTTOM;
  const across = decades([...runs.map((run) => run.sse), goal.sse], LEFT + 8, WIDTH - RIGHT);
  const up = decades([...runs.map((run) => run.h), goal.h], base - 8, TOP);
  const best = runs.filter((run) => run.front).sort((one, other) => one.sse - other.sse || other.h - one.h);
  const words = `${runs.length} runs, ${best.length} of them on the front; lower left is better. Their figures stand in the ledger below.`;
  const steps = best.map((run, place) => (place ? `H${across.to(run.sse)}V${up.to(run.h)}` : `M${across.to(run.sse)} ${up.to(run.h)}`));
  const picture = frame(words, across, up, "log-prime SSE (fidelity)", "h-norm (stability)");
  picture.append(
    draw("path", { class: "goal", fill: "none", d: `M${across.to(goal.sse)} ${base}V${up.to(goal.h)}H${LEFT}` }),
    draw("text", { class: "goal-text", x: across.to(goal.sse) + 5, y: base - 6 }, "goal"),
    draw("path", { class: "curve", d: steps.join("") || "M0 0" }),
    ...runs.map((run) =>
      draw(
        "circle",
        {
          class: `dot${run.front ? " front" : ""}${run.best ? " best" : ""}`,
          cx: across.to(run.sse),
          cy: up.to(run.h),
          r: run.front ? 5 : 3,
        },
        draw("title", {}, `${run.name}: SSE ${number(run.sse)}, h-norm ${number(run.h)}`),
      ),
    ),
  );
  return picture;
}

/** @typedef {{k: number, prominence: number, prime: number | null}} Peak */
/** @typedef {{k: number[], y: number[], baseline: number[], peaks: Peak[], targets: {prime: number, k: number}[],
 * scaling_factor: number | null}} Spectrum */

/** The spectrum of a run, scaled as its score scales it, with a line where each prime's logarithm is. @param {Spectrum} found */
export function spectrum(found) {
  const base = HEIGHT - BOTTOM;
  const scale = found.scaling_factor ?? 1;
  const farthest = Math.max(...found.k, ...found.targets.map((target) => target.k)) * scale;
  const across = even(0, farthest, LEFT, WIDTH - RIGHT);
  const up = even(Math.min(...found.y), Math.max(...found.y), base, TOP + 16);
  const line = (values) => values.map((y, place) => `${place ? "L" : "M"}${across.to(found.k[place] * scale)} ${up.to(y)}`).join("");
  const primes = found.targets.map((target) => target.prime).join(", ") || "no primes, for there is no score";
  const picture = frame(
    `Power at ${found.k.length} wave numbers with ${found.peaks.length} peaks, against the logarithms of ${primes}.`,
    across,
    up,
    found.scaling_factor === null ? "wave number (not scaled)" : `wave number × ${number(scale)}`,
    "log of the power",
  );
  for (const target of found.targets) {
    const x = across.to(target.k * scale);
    picture.append(
      draw("path", { class: "goal", d: `M${x} ${TOP + 12}V${base}` }),
      draw("text", { class: "goal-text", x, y: TOP + 6, "text-anchor": "middle" }, `ln ${target.prime}`),
    );
  }
  picture.append(
    draw("path", { class: "baseline", d: line(found.baseline) }),
    draw("path", { class: "curve", d: line(found.y) }),
    ...found.peaks.map((peak) => {
      const words = `peak at ${number(peak.k * scale)}${peak.prime === null ? "" : `, matched with ln ${peak.prime}`}`;
      const y = found.y[nearest(found.k, peak.k)];
      return draw("circle", { class: "dot front", cx: across.to(peak.k * scale), cy: up.to(y), r: 4.5 }, draw("title", {}, words));
    }),
  );
  return picture;
}

function nearest(values, wanted) {
  return values.reduce((best, value, place) => (Math.abs(value - wanted) < Math.abs(values[best] - wanted) ? place : best), 0);
}

const RAMP = [
  [17, 21, 51],
  [28, 82, 121],
  [35, 148, 137],
  [136, 201, 98],
  [250, 240, 140],
];
// A phase comes round again, so its colours do too.
const WHEEL = [
  [189, 74, 88],
  [196, 151, 62],
  [75, 158, 98],
  [58, 120, 182],
  [189, 74, 88],
];

function colour(stops, level) {
  const along = (level / 255) * (stops.length - 1);
  const below = Math.min(Math.floor(along), stops.length - 2);
  return stops[below].map((part, place) => Math.round(part + (stops[below + 1][place] - part) * (along - below)));
}

/** @typedef {{name: string, low: number, high: number, width: number, height: number, pixels: string}} Panel */

const NAMES = { rho: "|A|²", phase: "phase of A", rho_s: "density of space" };

/** One field as an image: a byte for each point, row by row, in base 64. @param {Panel} panel */
export function field(panel) {
  const { width, height, low, high } = panel;
  const words = `${NAMES[panel.name] ?? panel.name}: ${width} × ${height} points, from ${number(low)} to ${number(high)}`;
  const stops = panel.name === "phase" ? WHEEL : RAMP;
  const levels = Uint8Array.from(atob(panel.pixels), (letter) => letter.charCodeAt(0));
  const image = new ImageData(width, height);
  levels.forEach((level, place) => image.data.set([...colour(stops, level), 255], 4 * place));
  const canvas = make("canvas", { width, height, role: "img", "aria-label": words });
  canvas.getContext("2d")?.putImageData(image, 0, 0);
  return make("figure", {}, canvas, scale(stops), make("figcaption", {}, words));
}

/** The colours from the lowest value to the highest. */
function scale(stops) {
  const levels = 128;
  const image = new ImageData(levels, 1);
  for (let place = 0; place < levels; place++) image.data.set([...colour(stops, (255 * place) / (levels - 1)), 255], 4 * place);
  const canvas = make("canvas", { width: levels, height: 1, class: "scale", "aria-hidden": "true" });
  canvas.getContext("2d")?.putImageData(image, 0, 0);
  return canvas;
}
