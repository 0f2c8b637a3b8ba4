/** The first view: what is wrong, worst first, how well it does, and what each engine says of itself. */

import { at, badge, make, redraw, row, say, show } from "./dom.js";
import * as meters from "./meters.js";
import { verdicts } from "./verdicts.js";
import { clock, count, duration, inFigures } from "./words.js";

const EVENTS_MAX = 12;
const WORST_FIRST = ["failed", "degraded", "ok"];

const events = [];

/** What stands above every view. @param {any} status */
export function header(status) {
  say("version", `irerd ${status.version}`);
  say("uptime", status.state === "ready" ? `up ${duration(status.uptime_s)}` : status.state);
  at("health").dataset.health = status.health;
  say("health", status.health === "ok" ? "healthy" : `${status.health}: ${status.problems.length || "?"} wrong`);
}

/** @param {any} status */
export async function refresh(status) {
  show("no-problems", status.problems.length === 0);
  redraw("problems", status.problems, () => status.problems.map((problem) => make("li", {}, problem)));
  engines(status.engines);
  logs(status.logs);
  await meters.refresh();
}

function engines(found) {
  const rank = ([, engine]) => WORST_FIRST.indexOf(engine?.health ?? "ok");
  const rows = Object.entries(found).sort((one, other) => rank(one) - rank(other));
  redraw("engine-lines", rows, () =>
    rows.map(([name, engine]) => row([make("span", {}, `${name} `, engine?.health ? badge(engine.health) : null), inFigures(engine ?? {})])),
  );
}

function logs(found) {
  const failed = found.filter((log) => log.integrity !== "ok").map((log) => log.log);
  const records = found.reduce((sum, log) => sum + log.records, 0);
  say(
    "logs-line",
    failed.length
      ? `Damaged: ${failed.join(", ")}. Try: irerctl audit hashchain`
      : `${found.length} logs, ${count(records)} records; irerd found no damage when it started. The Audit view walks them all.`,
  );
  const rows = found.map((log) => [log.log, log.records, log.durable_seq, log.integrity, verdicts.get(log.log) ?? "not yet"]);
  redraw("logs", rows, () =>
    rows.map(([name, many, seq, integrity, verified]) =>
      row([name, count(many), count(seq), badge(integrity), verified], ["", "number", "number", "", ""]),
    ),
  );
}

/** One event that became durable. @param {any} event */
export function event(event) {
  events.unshift([clock(event.time), event.type, event.actor, `${event.log}:${event.seq}`]);
  events.length = Math.min(events.length, EVENTS_MAX);
  show("events-note", false);
  show("events-table", true);
  redraw("events", events, () => events.map((cells) => row(cells)));
}
