/** The third view: walk every log, and say as plainly what was not verified as what was. */

import { NoAnswer, Refused } from "./calls.js";
import { at, badge, make, redraw, row, say, show } from "./dom.js";
import { follow } from "./stream.js";
import { verdicts } from "./verdicts.js";
import { clock, count } from "./words.js";

const RESULTS = {
  ok: "Everything holds.",
  limited: "What was read holds; some of it nobody can vouch for: see below.",
  failed: "Damage was found. Try: irerctl audit verify, and see the runbook under docs/verify.",
};
const ROOT_SHOWN = 16;

/** @type {Map<string, any>} */
const rows = new Map();
let expected = new Map();
let running = null;

export function begin() {
  at("verify-form").addEventListener("submit", (asked) => {
    asked.preventDefault();
    if (running === null) verify(at("verify-replay").checked);
  });
  at("verify-stop").addEventListener("click", () => running?.abort());
}

/** @param {any} status */
export async function refresh(status) {
  if (running === null) expected = new Map(status.logs.map((log) => [log.log, log.records]));
}

/** @param {boolean} replay */
async function verify(replay) {
  running = new AbortController();
  busy(true);
  rows.clear();
  verdicts.clear();
  unverified([{ log: "all", why: "the verification has not ended" }]);
  say("verify-result", "Reading every record …");
  progress();
  try {
    const request = { method: "POST", headers: { "Content-Type": "application/json" }, body: JSON.stringify({ replay }), signal: running.signal };
    let ended = false;
    for await (const item of follow("/rpc/audit.verify", request)) {
      if (item.event === "mark") continue;
      const body = JSON.parse(item.data);
      if (item.event === "problem") throw new Refused(0, body);
      if (item.event === "end") {
        ended = true;
        end(body);
      } else if (body.log) seen(body);
    }
    if (!ended) throw new NoAnswer("the stream ended before the result");
  } catch (error) {
    if (running.signal.aborted) cutOff("you stopped it");
    else if (error instanceof NoAnswer || error instanceof Refused) cutOff(error.message);
    else throw error;
  } finally {
    running = null;
    busy(false);
  }
}

function busy(now) {
  at("verify-btn").disabled = now;
  show("verify-stop", now);
}

function cutOff(why) {
  say("verify-result", `Cut off: ${why}. Nothing is known of what was not read.`);
  unverified([{ log: "all", why: `the verification was cut off: ${why}` }]);
}

function seen(log) {
  rows.set(log.log, { ...rows.get(log.log), ...log });
  progress();
  redraw("verdicts", [...rows.values()], () => [...rows.values()].map(verdict));
}

function verdict(log) {
  const word = !log.done ? (log.stage ?? "reading") : log.ok ? "ok" : "failed";
  const bad = log.first_bad ? make("span", { class: "bad" }, ` ${log.first_bad.why} (byte ${log.first_bad.offset})`) : null;
  const snapshots = (log.snapshots ?? []).map((snapshot) => snapshot.result).join(", ");
  return row(
    [
      log.log,
      make("span", {}, badge(word), bad),
      log.total && !log.done ? `${count(log.records)} of ${count(log.total)}` : count(log.records),
      log.chain ?? "",
      log.form ?? "",
      log.tree ?? "",
      snapshots || (log.done ? "none" : ""),
      log.root ? make("code", { title: log.root }, `${log.root.slice(0, ROOT_SHOWN)}…`) : "",
    ],
    ["", "", "number"],
  );
}

function progress() {
  const all = [...rows.values()];
  for (const log of all) expected.set(log.log, Math.max(log.total ?? 0, log.done ? log.records : (expected.get(log.log) ?? log.records)));
  const total = [...expected.values()].reduce((sum, each) => sum + each, 0);
  const done = all.reduce((sum, log) => sum + log.records, 0);
  at("verify-progress").max = Math.max(total, 1);
  at("verify-progress").value = done;
  say("verify-progress-text", `${count(done)} of ${count(total)} records, ${all.filter((log) => log.done).length} of ${expected.size} logs`);
}

function end(result) {
  for (const log of result.logs) seen(log);
  const when = clock(Date.now());
  for (const log of result.logs) verdicts.set(log.log, `${log.ok ? "holds" : "FAILED"}, ${when}`);
  say("verify-result", `${RESULTS[result.result] ?? result.result} (${when})`);
  unverified(result.not_verified);
}

function unverified(list) {
  show("unverified-note", false);
  redraw("unverified", list, () =>
    list.map((each) => {
      const span = each.from === undefined || each.from === null ? "" : ` records ${count(each.from)} to ${count(each.to)}`;
      return make("li", {}, make("strong", {}, each.log), `${span}: ${each.why}`);
    }),
  );
}
