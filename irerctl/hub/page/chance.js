/** What a hunt's best run is worth: its score against chance, the paradox over all runs, its certificate. */

import { at, make, pairs, redraw, say, show } from "./dom.js";
import { correlations } from "./graphs.js";
import { due, panel, soon, wish } from "./panel.js";
import { count, number, spaced } from "./words.js";

const VERDICTS = { certified: "ok", refuted: "failed", inconclusive: "degraded" };
const PROFILE_S = 30;
const INSTABILITY = { sdg_h_norm_l2: "h-norm", h_classical: "classical norm" };

let profiled = null;
let compared = null;
let best = null;

export function begin() {
  at("certify-btn").addEventListener("click", () =>
    wish("certify-answer", "hunt.certify", { job_uuid: best }, (begun) =>
      begun.job
        ? `Begun as job ${begun.job}: ${count(begun.seeds.length)} fresh seeds, ${count(begun.grid.n)} points a side.`
        : "It has one already.",
    ),
  );
}

/** @param {any} status of the hunt @param {boolean} busy whether it runs */
export function refresh(status, busy) {
  best = status.best?.job_uuid ?? null;
  certificate(status, busy);
  if (busy || best === null) return;
  if (profiled !== best && due(`profile ${best}`, PROFILE_S)) profile(best);
  const runs = `${status.hunt_id} ${status.jobs_done} ${status.state}`;
  if (compared !== runs && due(`paradox ${runs}`, PROFILE_S)) compare(status.hunt_id, runs);
}

/** Nothing to show any more: another hunt has begun. */
export function forget() {
  profiled = compared = null;
  for (const id of ["chance", "paradox"]) redraw(id, null, () => []);
  for (const id of ["chance-note", "paradox-note"]) {
    say(id, "It is worked out when the hunt has ended.");
    show(id, true);
  }
}

async function profile(job_uuid) {
  if (await panel("chance-note", "sim.profile", { job_uuid }, (found) => nulls(found))) profiled = job_uuid;
  else soon(`profile ${job_uuid}`);
}

function nulls(found) {
  pairs("chance", [
    ["Survives all of these", found.survives ? "yes" : "no"],
    [
      `Score over ${count(found.n_targets)} primes`,
      typeof found.log_prime_sse === "number" ? number(found.log_prime_sse) : spaced(found.sse_code ?? "-"),
    ],
    ["Peaks, and targets that have one", `${count(found.n_peaks)}, ${count(found.n_matched)} of ${count(found.n_targets)}`],
    ["The grid can tell the targets apart", found.resolved ? "yes" : "no"],
    ["Scrambled phases score as well (p)", `${number(found.p_phase, 3)}, by ${count(found.draws)} draws`],
    ["Random targets fit as well (p)", number(found.p_target, 3)],
    ["Gap to scrambled phases", number(found.gap_phase)],
    ["Gap to random targets", number(found.gap_target)],
    ["Primes beat other sequences", found.integers ? sequences(found.integers) : "-"],
    ["Gain over a smooth curve", number(found.ramp_gain)],
  ]);
}

function sequences(held) {
  const named = held.beaten_by.length ? `${held.beaten_by.join(", ")} fit as well` : "no named one fits as well";
  return `${held.passed ? "yes" : "no"}: ${named}, and ${count(held.rank)} of ${count(held.sequences)} random ones`;
}

async function compare(hunt_id, runs) {
  if (await panel("paradox-note", "hunt.paradox", { hunt_id }, together)) compared = runs;
  else soon(`paradox ${runs}`);
}

function together(found) {
  const rows = found.pairs.flatMap((pair) =>
    [
      ["overall", ""],
      ["within", ", within generations"],
    ].map(([part, more]) => {
      const { rho, low, high, p, n } = pair[part];
      const words =
        rho === null
          ? `too few rows (${count(n)})`
          : `${number(rho, 2)} (95 % from ${number(low, 2)} to ${number(high, 2)}), p ${number(p, 2)}, ${count(n)} rows`;
      return { label: `${INSTABILITY[pair.instability] ?? pair.instability}${more}`, value: rho, low, high, words };
    }),
  );
  redraw("paradox", rows, () => [
    correlations(rows, found.claimed),
    make("ul", { class: "plain note" }, ...rows.map((each) => make("li", {}, `${each.label}: ${each.words}`))),
  ]);
  say(
    "paradox-note",
    `Correlation of ranks over ${count(found.rows)} runs. To the right: what scores well is unstable, as the source claims of its old solver.`,
  );
  show("paradox-note", true);
}

function certificate(status, busy) {
  const found = (status.certificates ?? []).find((each) => each.job_uuid === best);
  at("certificate").dataset.health = found ? VERDICTS[found.verdict] : "";
  say("certificate", found ? found.verdict : best === null ? "no run yet" : "not certified");
  const family =
    found && typeof found.p_family === "number"
      ? `chance alone scores as well in ${number(100 * found.p_family, 3)} % of such hunts; `
      : "";
  say("certificate-why", found ? `${family}p corrected for the hunt ${number(found.p_holm, 3)}` : (status.success?.scientific.why ?? ""));
  redraw("certificate-reasons", found?.reasons ?? [], () => (found?.reasons ?? []).map((reason) => make("li", {}, reason)));
  at("certify-btn").disabled = busy || best === null || Boolean(found);
}
