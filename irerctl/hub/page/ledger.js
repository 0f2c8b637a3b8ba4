/** The ledger of a hunt as a table that sorts by any column and shows the first rows in that order. */

import { at, make, redraw, row } from "./dom.js";
import { number } from "./words.js";

const LEADING = [
  "generation",
  "index",
  "job_uuid",
  "status",
  "log_prime_sse",
  "sdg_h_norm_l2",
  "rank",
  "n_peaks",
  "resolved",
  "gap_phase",
  "gap_target",
  "fitness",
  "seed",
];
const LEFT_OUT = new Set(["hunt_id", "artefact_sha256", "sse_code", "h_code"]);
const SHORT = 8;
const ROWS_SHOWN = 100;

let sorted = { by: "log_prime_sse", down: false };
let rows = [];

/** @param {Record<string, any>[]} found */
export function fillLedger(found) {
  rows = found.map(flat);
  drawLedger();
}

/** A row's parameters stand beside its figures, as in the CSV. */
function flat({ params, ...rest }) {
  return { ...rest, ...params };
}

function columns() {
  const all = new Set(rows.flatMap(Object.keys));
  const leading = LEADING.filter((name) => all.has(name));
  return [...leading, ...[...all].filter((name) => !leading.includes(name) && !LEFT_OUT.has(name))];
}

function drawLedger() {
  const names = columns();
  redraw("ledger-head", [names, sorted], () => names.map(head));
  const classes = names.map((name) => (rows.some((each) => typeof each[name] === "number") ? "number" : ""));
  const ordered = [...rows].sort(compare).slice(0, ROWS_SHOWN);
  redraw("ledger", [names, ordered], () =>
    ordered.map((each) =>
      row(
        names.map((name) => cell(each, name)),
        classes,
      ),
    ),
  );
}

function head(name) {
  const button = make("button", { type: "button" }, name);
  button.addEventListener("click", () => {
    sorted = { by: name, down: sorted.by === name && !sorted.down };
    drawLedger();
    at("ledger-head").querySelector("[aria-sort] button")?.focus();
  });
  return make("th", { scope: "col", "aria-sort": sorted.by === name ? (sorted.down ? "descending" : "ascending") : false }, button);
}

/** What is equal in the chosen column stands in the order of stability. */
function compare(one, other) {
  return by(sorted.by, sorted.down, one, other) || by("sdg_h_norm_l2", false, one, other);
}

/** Numbers by size, texts by letter; what has no value stands last, whichever way. */
function by(column, down, one, other) {
  const [a, b] = [one[column] ?? null, other[column] ?? null];
  if (a === null || b === null) return Number(a === null) - Number(b === null);
  const order = typeof a === "number" && typeof b === "number" ? a - b : String(a).localeCompare(String(b));
  return down ? -order : order;
}

function cell(each, name) {
  const value = each[name];
  if (name === "log_prime_sse") return typeof value === "number" ? number(value) : (each.sse_code ?? "-");
  if (name === "sdg_h_norm_l2") return typeof value === "number" ? number(value) : (each.h_code ?? "-");
  if (name === "job_uuid") return make("code", { title: value }, String(value).slice(0, SHORT));
  if (Array.isArray(value)) return value.map((each) => String(each).slice(0, SHORT)).join(", ") || "-";
  if (name === "seed") return String(value ?? "-");
  if (typeof value === "number") return number(value);
  return value === null || value === undefined ? "-" : String(value);
}
