/** The second view: start a hunt, watch it, and see what it found. Everything is read anew from irerd, so a reload loses nothing. */

import * as chance from "./chance.js";
import { front, field, spectrum } from "./charts.js";
import { at, options, redraw, say, show } from "./dom.js";
import { fillLedger } from "./ledger.js";
import { nudge } from "./link.js";
import { due, panel, soon, wish } from "./panel.js";
import { count, day, duration, number, spaced } from "./words.js";

const GOAL = { sse: 0.01, h: 0.001 };
const LEDGER_MAX = 1_000;
const HUNTS_MAX = 100;
const HUNTS_S = 10;
const NEWEST = "";
const PICTURE_POINTS = 96;
const BUSY = new Set(["running", "stopping"]);
const WAITING = '{ "status": "Waiting for hunt to complete..." }';

let state = { hunt_id: null, state: "idle" };
let seen = "";
let hunt = null;
let chosen = NEWEST;
let pictured = null;
let picturing = false;

export function begin() {
  at("hunt-form").addEventListener("submit", (asked) => {
    asked.preventDefault();
    start();
  });
  at("hunt-chosen").addEventListener("change", () => {
    chosen = at("hunt-chosen").value;
    nudge();
  });
  at("stop-hunt-btn").addEventListener("click", () =>
    wish("hunt-answer", "hunt.stop", which(), () => "The chunk that runs is finished, then the hunt stops."),
  );
  chance.begin();
  at("resume-hunt-btn").addEventListener("click", () =>
    wish("hunt-answer", "hunt.resume", { hunt_id: state.hunt_id }, () => "The hunt goes on."),
  );
}

/** The hunt that is shown, as irerd is asked about it: the newest one, whichever that is, or the one that was chosen. */
function which() {
  return chosen === NEWEST ? {} : { hunt_id: chosen };
}

function choices({ hunts }) {
  const words = new Map(hunts.map((each) => [each.hunt_id, `${day(each.started_at)} · ${count(each.jobs_total)} runs · ${each.hunt_id.slice(0, 8)}`]));
  if (!words.has(chosen)) chosen = NEWEST;
  options("hunt-chosen", [NEWEST, ...words.keys()], (id) => words.get(id) ?? "The newest hunt");
  at("hunt-chosen").value = chosen;
  show("hunt-choice", hunts.length > 1);
}

async function start() {
  let asked;
  try {
    asked = {
      num_generations: whole("generations"),
      population_size: whole("population"),
      seed: whole("seed"),
      space: object("space"),
      settings: object("settings"),
    };
  } catch (error) {
    say("hunt-answer", error.message);
    return;
  }
  const params = Object.fromEntries(Object.entries(asked).filter(([, value]) => value !== null));
  at("start-hunt-btn").disabled = true;
  await wish("hunt-answer", "hunt.start", params, (begun) => {
    chosen = NEWEST;
    soon("hunts");
    return `Hunt ${begun.hunt_id} has begun.`;
  });
  at("start-hunt-btn").disabled = BUSY.has(state.state);
}

function whole(id) {
  const text = at(id).value.trim();
  return text === "" ? null : Number(text);
}

function object(id) {
  const text = at(id).value.trim();
  if (text === "") return null;
  let value;
  try {
    value = JSON.parse(text);
  } catch (error) {
    throw new Error(`The ${id} is no JSON: ${error.message}. Nothing was started.`);
  }
  if (value === null || typeof value !== "object" || Array.isArray(value)) {
    throw new Error(`The ${id} must be a JSON object, such as {"eps": …}. Nothing was started.`);
  }
  return value;
}

/** @param {any} status */
export async function refresh(status) {
  const there = "hunt" in status.engines;
  show("no-hunt", !there);
  show("hunt-parts", there);
  if (!there) {
    say("no-hunt", `This irerd (${status.version}) has no hunt: its engines are ${Object.keys(status.engines).join(", ")}.`);
    return;
  }
  if (due("hunts", HUNTS_S)) await panel("hunts-note", "hunt.list", { limit: HUNTS_MAX }, choices);
  await panel("hunt-note", "hunt.status", which(), progress);
  if (state.hunt_id !== hunt) {
    hunt = state.hunt_id;
    chance.forget();
  }
  chance.refresh(state, BUSY.has(state.state));
  if (state.best) picture(state.best.job_uuid);
  const now = JSON.stringify([state.hunt_id, state.state, state.jobs_done, state.generation]);
  if (state.hunt_id === null || state.hunt_id === undefined || now === seen) return;
  const { hunt_id } = state;
  const told = await Promise.all([
    panel("ledger-note", "hunt.ledger", { hunt_id, limit: LEDGER_MAX, sort: "log_prime_sse" }, ledger),
    state.best ? panel("best-note", "hunt.best", { hunt_id }, best) : noBest(),
  ]);
  if (told.every(Boolean)) seen = now;
}

function progress(found) {
  state = found;
  const busy = BUSY.has(found.state);
  say("hunt-status", words(found));
  at("start-hunt-btn").disabled = busy;
  say("btn-text", busy ? "Hunt Running..." : "Start New Hunt");
  show("stop-hunt-btn", busy);
  say("stop-hunt-btn", found.state === "stopping" ? "Stop at once" : "Stop");
  show("resume-hunt-btn", found.state === "stopped" || found.state === "failed");
  at("hunt-progress").max = Math.max(found.jobs_total ?? 0, 1);
  at("hunt-progress").value = found.jobs_done ?? 0;
  say("hunt-progress-text", found.jobs_total ? `${count(found.jobs_done ?? 0)} of ${count(found.jobs_total)} runs` : "No runs yet");
  say("status-event", found.last ? `Analyzed ${found.last.job_uuid.slice(0, 8)}... of generation ${found.last.generation}` : "-");
  say("status-sse", found.last ? score(found.last.log_prime_sse, found.last.sse_code) : "-");
  say("status-h-norm", found.last ? score(found.last.sdg_h_norm_l2, found.last.h_code) : "-");
  say("best-sse", found.best ? score(found.best.log_prime_sse, found.best.sse_code) : "-");
  say("best-h-norm", found.best ? score(found.best.sdg_h_norm_l2, found.best.h_code) : "-");
  say("hunt-eta", busy ? duration(found.eta_s) : "-");
  say("hunt-success", found.success ? success(found.success) : "");
}

function success({ engineering, scientific }) {
  const runs = `${count(engineering.provenance)} of ${count(engineering.jobs)} runs have an outcome and a complete provenance file`;
  const found = `SSE ${number(scientific.log_prime_sse)} and h-norm ${number(scientific.sdg_h_norm_l2)}`;
  const goal = `${number(scientific.log_prime_sse_below)} and ${number(scientific.sdg_h_norm_l2_below)}`;
  return [
    `Engineering: ${engineering.ok ? "reached" : "missed"}, ${runs}.`,
    `Scientific: ${scientific.reached ? "below" : "not below"} ${goal} with ${found}; ${scientific.certificate}.`,
  ].join(" ");
}

function score(value, code) {
  return typeof value === "number" ? number(value, 6) : spaced(code ?? "-");
}

function words(found) {
  const name = found.state[0].toUpperCase() + found.state.slice(1);
  if (found.state === "failed") return `Error: ${found.error ?? "the hunt failed"}`;
  if (found.state === "idle") return name;
  return `${name}, ${count(found.generation)} of ${count(found.generations)} generations done`;
}

function ledger(found) {
  fillLedger(found.rows);
  say("ledger-note", found.next ? `The best ${count(found.rows.length)} of ${count(state.jobs_done)} runs. All: irerctl hunt ledger` : "");
  show("ledger-note", Boolean(found.next));
  const scored = found.rows.filter((each) => typeof each.log_prime_sse === "number" && typeof each.sdg_h_norm_l2 === "number");
  const runs = scored.map((each) => ({
    sse: each.log_prime_sse,
    h: each.sdg_h_norm_l2,
    front: !scored.some((other) => dominates(other, each)),
    best: each.job_uuid === state.best?.job_uuid,
    name: each.job_uuid.slice(0, 8),
  }));
  say("front-note", runs.length ? "Each dot is a run; the line joins those that no other beats in both." : "No run has a score yet.");
  show("front-note", true);
  redraw("front", runs, () => (runs.length ? [front(runs, GOAL)] : []));
}

function dominates(one, other) {
  const [a, b, c, d] = [one.log_prime_sse, other.log_prime_sse, one.sdg_h_norm_l2, other.sdg_h_norm_l2];
  return a <= b && c <= d && (a < b || c < d);
}

function noBest() {
  pictured = null;
  say("provenance-box", WAITING);
  for (const id of ["fields", "spectrum"]) redraw(id, null, () => []);
  for (const id of ["best-note", "run-note", "spectrum-note"]) {
    say(id, "No run has a score yet.");
    show(id, true);
  }
  return true;
}

function best(found) {
  say("provenance-box", JSON.stringify(found, null, 2));
  say("best-note", BUSY.has(state.state) ? "The best so far: the hunt is not over." : "");
  show("best-note", BUSY.has(state.state));
}

/** Drawn beside everything else: a worker that has to start first must not keep the page from asking how irerd is. */
async function picture(job_uuid) {
  if (picturing || job_uuid === pictured) return;
  picturing = true;
  try {
    if (await panel("run-note", "sim.show", { job_uuid, points: PICTURE_POINTS }, drawRun)) pictured = job_uuid;
  } finally {
    picturing = false;
  }
}

function drawRun(found) {
  const run = found.job_uuid.slice(0, 8);
  redraw("fields", found.job_uuid, () => found.panels.map(field));
  say("spectrum-note", found.spectrum ? `Run ${run}: power against the logarithms of the primes.` : `Run ${run} has no spectrum.`);
  redraw("spectrum", found.job_uuid, () => (found.spectrum ? [spectrum(found.spectrum)] : []));
}
