/** The engines at work: pools and tasks, the fleet, the offline cache; gates and engine control stand in files of their own. */

import * as control from "./control.js";
import { at, badge, deed, make, meter, options, pairs, redraw, say, sent, table } from "./dom.js";
import * as gates from "./gates.js";
import { panel, wish } from "./panel.js";
import { count, number, size, spaced, when } from "./words.js";

const TASKS_MAX = 8;
const ENTITIES_MAX = 50;
const QUEUE_MAX = 8;
const CONFLICTS_MAX = 20;
const FULL = 0.95;
const LIVE = new Set(["blocked", "waiting", "queued", "running", "retrying"]);
const ENTITY_HEALTH = { active: "ok", error_correction: "failed", offline_adapting: "degraded", awakening: "degraded" };

let online = true;

export function begin() {
  sent("scale-form", () =>
    wish("scale-answer", "resource.scale", { pool: at("scale-pool").value, size: Number(at("scale-size").value) }, (done) =>
      done.pool ? `${done.pool}: ${done.from_units} → ${done.to_units} units` : "It had that size already.",
    ),
  );
  sent("entity-form", () => {
    const [entity_id, verb] = [at("entity-name").value, at("entity-deed").value];
    wish("entities-answer", `entity.${verb}`, { entity_id }, () => `${entity_id}: ${verb}, done.`);
  });
  at("online").addEventListener("click", () => wish("queue-answer", "cache.set_online", { online: !online }, () => "Done."));
  at("sync").addEventListener("click", () => wish("queue-answer", "cache.sync", {}, () => "The sync has begun."));
  control.begin();
}

/** @param {any} status */
export async function refresh(status) {
  await Promise.all([
    panel("pools-note", "resource.pools", {}, pools),
    panel("tasks-note", "resource.tasks", { limit: TASKS_MAX }, tasks),
    panel("states-note", "entity.status", {}, states),
    panel("entities-note", "entity.list", { limit: ENTITIES_MAX }, entities),
    panel("queue-note", "cache.status", {}, queue),
    panel("waiting-note", "cache.queue", { limit: QUEUE_MAX }, waiting),
    panel("conflicts-note", "cache.conflicts", { limit: CONFLICTS_MAX }, conflicts),
    gates.refresh(),
    control.refresh(status),
  ]);
}

function pools(found) {
  const rows = found.pools.map((pool) => [
    pool.name,
    pool.used,
    pool.units,
    pool.running,
    pool.waiting + pool.blocked + pool.retrying,
    pool.floor,
    pool.ceiling,
  ]);
  table("pools", rows, ["", "", "number", "number", "number", "number"], "none", ([name, used, units, running, waits, floor, ceiling]) => [
    name,
    meter(used, units, `${used} of ${units} units of ${name} used`, { high: units * FULL, optimum: 0 }),
    count(units),
    count(running),
    count(waits),
    `${count(floor)}–${count(ceiling)}`,
  ]);
  options(
    "scale-pool",
    found.pools.map((pool) => pool.name),
  );
}

function tasks(found) {
  const rows = found.tasks.map((task) => [task.task_id, task.state, task.resource_type, count(task.units), task.caller]);
  table("tasks", rows, ["", "", "", "number"], "none yet", (cells) => [...cells, LIVE.has(cells[1]) ? cancel(cells[0]) : null]);
}

function cancel(task_id) {
  return deed("Cancel", `Cancel ${task_id}`, () =>
    wish("tasks-answer", "resource.cancel_task", { task_id }, () => `${task_id} is cancelled.`),
  );
}

function states(found) {
  const known = Object.entries(found.states).filter(([, many]) => many > 0);
  redraw("states", known, () => known.map(([state, many]) => badge(ENTITY_HEALTH[state] ?? "", `${count(many)} ${spaced(state)}`)));
}

function entities(found) {
  const words = (entity) =>
    [...Object.entries(entity.labels ?? {}).map(([name, value]) => `${name}: ${value}`), entity.note, entity.waits_for]
      .filter(Boolean)
      .join(" · ");
  const rows = found.entities.map((entity) => [
    entity.entity_id,
    entity.type,
    entity.state,
    entity.health ?? null,
    when(entity.heard_at),
    words(entity),
  ]);
  table("entities", rows, ["", "", "", "", "nowrap", "said"], "none yet", ([name, type, state, health, heard, said]) => [
    name,
    type,
    badge(ENTITY_HEALTH[state] ?? "", spaced(state)),
    health === null ? "-" : meter(health, 100, `${name} says ${number(health)} of 100`, { low: 50, high: 80, optimum: 100 }),
    heard,
    said,
  ]);
  say("entities-note", found.next ? `The first ${ENTITIES_MAX}. All: irerctl entity list` : "");
  at("entities-note").hidden = !found.next;
  options(
    "entity-name",
    found.entities.filter((entity) => entity.state !== "deactivated").map((entity) => entity.entity_id),
  );
}

function queue(found) {
  online = found.online;
  pairs("queue", [
    ["Works", found.online ? "online" : "offline"],
    ["Waits to be synced", count(found.queue)],
    ["Conflicts", count(found.conflicts)],
    ["Keys", count(found.keys)],
    ["On disk", `${size(found.bytes)} of ${size(found.bytes_max)}`],
    ["Last sync", when(found.last_sync)],
  ]);
  at("online").disabled = false;
  at("sync").disabled = !found.online;
  say("online", found.online ? "Work offline" : "Go online");
}

function waiting(found) {
  const rows = found.keys.map((key) => [key.key, key.rev, key.deleted ? "deleted" : count(key.bytes)]);
  const more = found.count - rows.length;
  if (more > 0) rows.push([`and ${count(more)} more`, "", ""]);
  table("waiting", rows, ["", "", "number"], "nothing waits", ([key, rev, bytes]) => [key, short(rev), bytes]);
}

function conflicts(found) {
  const rows = found.keys.map((key) => [key.key, [key.rev, ...key.others]]);
  table("conflicts", rows, [], "no conflicts", ([key, revs]) => [
    key,
    make("span", { class: "line tight" }, ...revs.map((rev) => keep(key, rev))),
  ]);
}

function keep(key, rev) {
  const words = `Keep ${rev.slice(0, 8)}…`;
  return deed(words, `${words} of ${key}`, () =>
    wish("queue-answer", "cache.resolve", { key, rev }, (done) => `${done.key} stands at ${done.rev}.`),
  );
}

function short(rev) {
  return make("code", { title: rev }, rev.length > 12 ? `${rev.slice(0, 12)}…` : rev);
}
