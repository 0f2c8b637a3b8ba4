/** Figures as people read them. Pure: text in and out, and never a guess where there is no value. */

/** @param {unknown} value @param {number} digits */
export function number(value, digits = 4) {
  if (typeof value !== "number" || !Number.isFinite(value)) return "-";
  if (Number.isInteger(value)) return count(value);
  const size = Math.abs(value);
  return size >= 1e-3 && size < 1e6 ? String(Number(value.toPrecision(digits))) : value.toExponential(digits - 1).replace(/\.?0+e/, "e");
}

/** @param {unknown} value */
export function count(value) {
  return typeof value === "number" ? value.toLocaleString("en-US") : "-";
}

/** @param {unknown} seconds */
export function duration(seconds) {
  if (typeof seconds !== "number" || !Number.isFinite(seconds)) return "-";
  const whole = Math.round(seconds);
  if (whole < 60) return `${whole} s`;
  if (whole < 3600) return `${Math.floor(whole / 60)} min ${whole % 60} s`;
  if (whole < 86400) return `${Math.floor(whole / 3600)} h ${Math.floor((whole % 3600) / 60)} min`;
  return `${Math.floor(whole / 86400)} d ${Math.floor((whole % 86400) / 3600)} h`;
}

/** @param {number} bytes */
export function size(bytes) {
  let value = bytes;
  for (const unit of ["B", "KiB", "MiB", "GiB"]) {
    if (value < 1024 || unit === "GiB") return `${value < 10 && unit !== "B" ? value.toFixed(1) : Math.round(value)} ${unit}`;
    value /= 1024;
  }
  return "";
}

/** The clock time of a moment. @param {string | number | Date} moment */
export function clock(moment) {
  const when = new Date(moment);
  return Number.isNaN(when.getTime()) ? "-" : when.toLocaleTimeString("en-GB");
}

/** A moment of today by its clock time, any other with its day. How long ago it was would change at every look.
 * @param {string | null | undefined} moment */
export function when(moment) {
  if (!moment) return "-";
  return new Date(moment).toDateString() === new Date().toDateString() ? clock(moment) : day(moment);
}

/** The day and clock time of a moment. @param {string | number | Date} moment */
export function day(moment) {
  const when = new Date(moment);
  return Number.isNaN(when.getTime()) ? "-" : `${when.toLocaleDateString("en-CA")} ${when.toLocaleTimeString("en-GB")}`;
}

const SI = ["", "k", "M", "G", "T", "P"];

/** A number with its unit, in thousands of it where it is large. @param {unknown} value @param {string} unit */
export function quantity(value, unit) {
  if (typeof value !== "number" || !Number.isFinite(value)) return "-";
  if (unit === "1" || !unit) return number(value);
  const power = Math.min(Math.max(Math.floor(Math.log10(Math.abs(value) || 1) / 3), 0), SI.length - 1);
  return `${number(value / 1000 ** power, 4)} ${SI[power]}${unit}`;
}

/** @param {string} name of a field @returns the same as words */
export function spaced(name) {
  return String(name).replaceAll("_", " ");
}

const NOT = { online: "offline" };

/** What an engine says of itself in a line: its numbers and words but for zeros, moments and ids, its lists by their length.
 * @param {Record<string, unknown>} value */
export function inFigures(value) {
  const parts = [];
  for (const [key, each] of Object.entries(value)) {
    if (key === "health" || key.endsWith("_at") || key.endsWith("_id")) continue;
    if (each === 0) continue;
    if (typeof each === "number") parts.push(measured(key, each));
    else if (typeof each === "string") parts.push(key === "state" ? each : `${spaced(key)} ${each}`);
    else if (typeof each === "boolean") parts.push(each ? spaced(key) : (NOT[key] ?? `not ${spaced(key)}`));
    else if (Array.isArray(each) && each.length) parts.push(many(each.length, key));
    else if (each && typeof each === "object") {
      // Only what counts: of an object that says more, the engine's own view has the figures.
      const counts = Object.values(each).every(Number.isInteger) ? Object.entries(each).filter(([, many]) => many > 0) : [];
      parts.push(...counts.map(([name, sum]) => many(sum, name)));
    }
  }
  return parts.join(" · ") || "nothing yet";
}

const BYTES = { bytes: "", bytes_max: "at most " };
const QUEUED = { queue: "queued" };

function measured(key, value) {
  if (key.includes("bytes")) return `${BYTES[key] ?? `${spaced(key.replace("_bytes", ""))} `}${size(value)}`;
  return key.endsWith("_s") ? `${spaced(key.slice(0, -2))} ${duration(value)}` : many(value, QUEUED[key] ?? key);
}

/** So many of them; of one, its first word says that it is one. @param {number} value @param {string} name of the field */
function many(value, name) {
  const [first, ...rest] = spaced(name).split(" ");
  const one = value === 1 && /[^su]s$/.test(first) ? first.replace(/ies$/, "y").replace(/s$/, "") : first;
  return [number(value), one, ...rest].join(" ");
}
