/** What irer was told and what came of it: patterns, citations, events; and trajectories through rules. */

import { at, badge, make, meter, pairs, redraw, say, sent, show, table } from "./dom.js";
import { graph } from "./graphs.js";
import { due, panel } from "./panel.js";
import { clock, count, number, spaced, when } from "./words.js";

const ROWS_MAX = 12;
const EVENTS_READ = 200;
const SLOW_S = 6;
const SHORT = 8;
const SAID_MAX = 110;
const HASHES = /\b[0-9a-f]{64}\b/g;
const BOXES_MAX = 80;
const STATES = { crystallised: "ok", rising: "degraded" };

export function begin() {
  sent("search-form", search);
}

export async function refresh() {
  await Promise.all([
    panel("patterns-note", "data.patterns", { limit: ROWS_MAX }, patterns),
    panel("program-note", "trajectory.status", {}, program),
    panel("occupancy-note", "trajectory.occupancy", { limit: ROWS_MAX }, occupancy),
    ...(due("topology", SLOW_S)
      ? [
          panel("topology-note", "data.topology", { limit: ROWS_MAX }, topology),
          panel("told-note", "data.events", { limit: EVENTS_READ }, told),
        ]
      : []),
  ]);
}

function patterns(found) {
  const top = Math.max(found.threshold, ...found.patterns.map((pattern) => pattern.strength));
  const rows = found.patterns.map((pattern) => [
    pattern.pattern,
    pattern.kind,
    pattern.state,
    pattern.strength,
    count(pattern.events),
    top,
  ]);
  table("patterns", rows, ["", "", "", "", "number"], "none has formed", ([name, kind, state, strength, events, most]) => [
    make("code", {}, name),
    kind,
    badge(STATES[state] ?? "", state),
    meter(strength, most, `${number(strength, 3)}; it rises at ${number(found.threshold)}`),
    events,
  ]);
}

function topology(found) {
  pairs("topology", [
    ["Events", count(found.nodes)],
    ["Citations", count(found.edges)],
    ["Parts", count(found.components)],
    ["Beside a tree", count(found.cycle_rank)],
  ]);
  const rows = found.places.map((place) => [place.event, number(place.rank, 3), count(place.cited), count(place.cites), count(place.core)]);
  table("places", rows, ["", "number", "number", "number", "number"], "nothing cites anything", ([event, ...rest]) => [
    hash(event),
    ...rest,
  ]);
}

function told(found) {
  // What irer derives from each of them is in the log; here it would drown what people told.
  const told = found.events.filter((event) => event.contributor !== "irer").slice(0, ROWS_MAX);
  const rows = told.map((event) => [clock(event.at), says(event.data), spaced(event.type), event.contributor, event.family]);
  table("told", rows, ["nowrap", "said", "nowrap"], "nothing was told");
}

function says(data) {
  const text = typeof data.text === "string" ? data.text : JSON.stringify(data).replace(HASHES, (found) => `${found.slice(0, SHORT)}…`);
  return text.length > SAID_MAX ? `${text.slice(0, SAID_MAX)}…` : text;
}

function program(found) {
  pairs("program", [
    ["Facts", count(found.facts)],
    ["Rules", count(found.rules)],
    ["Goals", count(found.goals)],
    ["Folded", count(found.folds)],
    ["Last folded", found.last_fold ? `${found.last_fold.hash.slice(0, SHORT)}…, ${when(found.last_fold.folded_at)}` : "-"],
  ]);
  at("search-form").hidden = found.goals === 0;
}

function occupancy(found) {
  table(
    "occupancy",
    found.rules.map((rule) => [rule.rule_id, count(rule.count)]),
    ["", "number"],
    "nothing was folded",
  );
}

async function search() {
  await panel("search-answer", "trajectory.search", {}, (found) => {
    const spine = found.spine;
    say(
      "search-answer",
      spine
        ? `It costs ${number(found.cost)}, by ${count(spine.rules.length)} rules (${found.proof}).`
        : `Out of reach: ${(found.unreachable ?? []).join(", ")}.`,
    );
    redraw("spine", spine, () => (spine && spine.rules.length ? [tree(spine)] : []));
    redraw("spine-steps", spine, () => (spine ? spine.rules.map(step) : []));
  });
  show("search-answer", true);
}

function step(rule) {
  return make(
    "li",
    {},
    make("strong", {}, rule.rule_id),
    `: ${rule.premises.join(", ") || "nothing"} → ${rule.conclusion}, ${number(rule.cost)} borne by ${rule.group}`,
  );
}

/** Atoms in columns by how many rules lie before them. */
function tree(spine) {
  const depths = new Map(spine.facts.map((fact) => [fact, 0]));
  for (const rule of spine.rules)
    depths.set(rule.conclusion, 1 + Math.max(-1, ...rule.premises.map((premise) => depths.get(premise) ?? 0)));
  const by = new Map(spine.rules.map((rule) => [rule.conclusion, rule]));
  const goals = new Set(spine.goals);
  const boxes = [...depths].slice(0, BOXES_MAX).map(([atom, column]) => {
    const rule = by.get(atom);
    return {
      id: atom,
      column,
      label: atom,
      under: rule ? `${rule.rule_id}, ${number(rule.cost)}` : "given",
      kind: goals.has(atom) ? "goal-box" : "",
    };
  });
  const edges = spine.rules.flatMap((rule) =>
    rule.premises.map((premise) => ({ from: premise, to: rule.conclusion, words: rule.rule_id })),
  );
  return graph(boxes, edges, `A way of ${spine.rules.length} rules; its steps stand below.`);
}

function hash(text) {
  return make("code", { title: text }, `${text.slice(0, SHORT)}…`);
}
