/** The first view: what irerd is doing and what is wrong with it, worst first, and three things to do about it. */

import { at, badge, make, redraw, row, say, show } from "./dom.js";
import { panel, wish } from "./panel.js";
import { verdicts } from "./verdicts.js";
import { clock, count, duration, inFigures, number, size, spaced } from "./words.js";

const EVENTS_MAX = 12;
const TASKS_MAX = 8;
const ENTITIES_MAX = 20;
const WORST_FIRST = ["failed", "degraded", "ok"];

const NO_VALUE = { "no-evidence": "nothing to work it out from yet", rebuilding: "being worked out anew", failed: "cannot be worked out: see what is wrong" };

const events = [];
let online = true;

export function begin() {
  at("scale-form").addEventListener("submit", (asked) => {
    asked.preventDefault();
    const size = Number(at("scale-size").value);
    wish("scale-answer", "resource.scale", { pool: at("scale-pool").value, size }, (done) =>
      done.pool ? `${done.pool}: ${done.from_units} → ${done.to_units} units` : "It had that size already.",
    );
  });
  at("online").addEventListener("click", () =>
    wish("queue-answer", "cache.set_online", { online: !online }, () => "Done."),
  );
  at("sync").addEventListener("click", () => wish("queue-answer", "cache.sync", {}, () => "The sync has begun."));
}

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
  await Promise.all([
    panel("pools-note", "resource.pools", {}, pools),
    panel("tasks-note", "resource.tasks", { limit: TASKS_MAX }, tasks),
    panel("queue-note", "cache.status", {}, queue),
    panel("gauges-note", "metrics.gauges", {}, gauges),
    panel("entities-note", "entity.list", { limit: ENTITIES_MAX }, entities),
  ]);
}

function engines(found) {
  const rank = ([, engine]) => WORST_FIRST.indexOf(engine?.health ?? "ok");
  const rows = Object.entries(found).sort((one, other) => rank(one) - rank(other));
  redraw("engines", rows, () =>
    rows.map(([name, engine]) => row([name, engine?.health ? badge(engine.health) : "", inFigures(engine ?? {})])),
  );
}

function pools(found) {
  const rows = found.pools.map((pool) => [pool.name, pool.used, pool.units, pool.running, pool.waiting]);
  redraw("pools", rows, () =>
    rows.map(([name, used, units, running, waiting]) =>
      row(
        [name, meter(used, units, `${used} of ${units} units of ${name} used`), count(units), count(running), count(waiting)],
        ["", "", "number", "number", "number"],
      ),
    ),
  );
  const names = found.pools.map((pool) => pool.name);
  redraw("scale-pool", names, () => names.map((name) => make("option", { value: name }, name)));
}

function meter(value, max, words) {
  return make("meter", { min: 0, max: Math.max(max, 1), value, title: words, "aria-label": words }, words);
}

function tasks(found) {
  const rows = found.tasks.map((task) => [task.task_id, task.state, task.resource_type, count(task.units), task.caller]);
  redraw("tasks", rows, () =>
    rows.length ? rows.map((cells) => row(cells, ["", "", "", "number", ""])) : [row(["none yet", "", "", "", ""])],
  );
}

function queue(found) {
  online = found.online;
  const pairs = [
    ["Works", found.online ? "online" : "offline"],
    ["Waits to be synced", count(found.queue)],
    ["Conflicts", count(found.conflicts)],
    ["Keys", count(found.keys)],
    ["On disk", `${size(found.bytes)} of ${size(found.bytes_max)}`],
  ];
  redraw("queue", pairs, () => pairs.flatMap(([name, value]) => [make("dt", {}, name), make("dd", {}, value)]));
  at("online").disabled = false;
  at("sync").disabled = !found.online;
  say("online", found.online ? "Work offline" : "Go online");
}

function gauges(found) {
  const rows = found.gauges.map((gauge) => [gauge.name, gauge.value, gauge.target, gauge.window, gauge.reason, gauge.computed_how]);
  redraw("gauges", rows, () =>
    rows.map(([name, value, target, window, reason, how]) => {
      const known = typeof value === "number";
      const words = known ? `${number(value, 3)} %, target ${number(target)} % (${window})` : (NO_VALUE[reason] ?? "no value");
      return make(
        "div",
        { class: "gauge", title: how },
        make("span", { class: "name" }, spaced(name)),
        known ? make("meter", { min: 0, max: 100, low: target, high: target, optimum: 100, value, "aria-label": `${name} ${words}` }) : null,
        make("span", { class: "note" }, words),
      );
    }),
  );
}

function entities(found) {
  const labels = (entity) => Object.entries(entity.labels ?? {}).map(([name, value]) => `${name}: ${value}`).join(", ");
  const rows = found.entities.map((entity) => [entity.entity_id, entity.type, spaced(entity.state), labels(entity)]);
  if (found.next) rows.push([`and more: irerctl entity list`, "", "", ""]);
  redraw("entities", rows, () => (rows.length ? rows.map((cells) => row(cells)) : [row(["none yet", "", "", ""])]));
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
