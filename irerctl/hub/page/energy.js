/** Energy intelligence: where energy goes, when sources shifted, what should be done, and the market. */

import { at, badge, make, options, pairs, redraw, say, sent, show, table } from "./dom.js";
import { bars, graph, timeline } from "./graphs.js";
import { due, panel, wish } from "./panel.js";
import { clock, count, day, number, quantity, spaced } from "./words.js";

const SOURCES_MAX = 20;
const SHIFTS_S = 10;
const SHIFTS_MAX = 40;
const COLUMNS_MAX = 4;
const DECISIONS_MAX = 8;
const REGIMES = { stable: "ok", learning: "", drifting: "degraded", transition: "degraded", unstable: "failed" };
const DEEDS = {
  hold: "change nothing",
  scale_down: "scale down",
  scale_up: "scale up",
  cap_power: "cap the power",
  defer: "defer",
  migrate: "migrate",
};

const decisions = [];
/** @type {Map<string, any[]>} */
const latest = new Map();
let sources = [];
let atlas = { edges: [], junctions: [] };
let quote = null;

export function begin() {
  sent("act-form", decide);
  sent("quote-form", offer);
  at("trade").addEventListener("click", trade);
}

export async function refresh() {
  await Promise.all([
    panel("energy-short-note", "eil.health", {}, short),
    panel("sources-note", "eil.regime_status", { limit: SOURCES_MAX }, regimes),
    panel("map-note", "eil.energy_map", { limit: SOURCES_MAX }, (found) => (atlas = found)),
    panel("market-note", "eil.market_pricing", {}, prices),
    panel("balances-note", "eil.balances", { limit: SOURCES_MAX }, balances),
  ]);
  redraw("map", [sources, atlas], () => (sources.length ? [map()] : []));
  junctions(atlas.junctions);
  if (due("shifts", SHIFTS_S)) await shifts();
}

function short(found) {
  const proofs = Object.entries(found.proofs)
    .map(([verdict, many]) => `${count(many)} ${verdict}`)
    .join(", ");
  pairs("energy-short", [
    ["Sources", count(found.sources)],
    ["Points", count(found.points)],
    ["Refused", count(found.refused)],
    ["Open predictions", count(found.predictions_open)],
    ["Proofs", proofs || "none yet"],
    ["PFT minted", number(found.pft_minted)],
    ["Actions", count(found.actions)],
    [
      "Spent by callers",
      quantity(
        found.callers.reduce((sum, caller) => sum + caller.joules, 0),
        "J",
      ),
    ],
  ]);
}

function regimes(found) {
  sources = found.sources;
  const rows = sources.map((source) => {
    const { energy_state: state, regime_prediction: next } = source;
    return [
      source.source,
      state.regime,
      `${next.next_likely}, ${number(100 * next.confidence, 3)} %`,
      quantity(state.total_energy, state.total_energy_unit),
      state.total_energy_provenance,
      `${number(state.entropy)} ${state.entropy_unit}`,
      typeof source.coverage === "number" ? `${number(100 * source.coverage, 3)} %` : "-",
      (source.lost ?? []).join(", ") || "-",
    ];
  });
  table("sources", rows, ["", "", "", "number", "", "number", "number"], "no source has sent a point", ([name, regime, ...rest]) => [
    name,
    badge(REGIMES[regime], regime),
    ...rest,
  ]);
  say("sources-note", found.next ? `The first ${SOURCES_MAX} of ${count(found.count)}. All: irerctl regime` : "");
  show("sources-note", Boolean(found.next));
}

/** Places, or owners where no place is known, and the sources in the order in which they feed one another. */
function map() {
  const energy = (source) => quantity(source.energy_state.total_energy, source.energy_state.total_energy_unit);
  const joules = (source) => (source.energy_state.total_energy_unit === "J" ? Math.max(source.energy_state.total_energy, 0) : 0);
  const flows = atlas.edges.filter((edge) => edge.relation === "feeds" || edge.relation === "cools");
  const homes = new Map(atlas.edges.filter((edge) => edge.relation === "contains").map((edge) => [edge.end, edge.start]));
  const column = columns(flows);
  const from = (source) => homes.get(`source:${source.source}`) ?? `owner:${source.owner}`;
  const first = sources.filter((source) => column(source) === 1);
  const boxes = [
    ...[...new Set(first.map(from))].map((id) => ({
      id,
      column: 0,
      label: id.slice(id.indexOf(":") + 1),
      under: id.startsWith("place:") ? "a place" : "sends",
    })),
    ...sources.map((source) => ({
      id: `source:${source.source}`,
      column: column(source),
      label: source.source,
      under: `${energy(source)}, ${source.energy_state.regime}`,
      kind: source.energy_state.regime,
    })),
  ];
  const edges = [
    ...first.map((source) => ({
      from: from(source),
      to: `source:${source.source}`,
      weight: joules(source),
      words: `${source.source}: ${energy(source)}`,
    })),
    ...flows.map((flow) => ({
      from: flow.start,
      to: flow.end,
      weight: flow.unit === "J" ? flow.weight : 0,
      kind: flow.relation,
      words: `${bare(flow.start)} ${flow.relation} ${bare(flow.end)}: ${quantity(flow.weight, flow.unit)}`,
    })),
  ];
  const told = sources.map((source) => `${source.source} of ${source.owner}: ${energy(source)}, ${source.energy_state.regime}`);
  return graph(boxes, edges, `${[...told, ...flows.map((flow) => `${bare(flow.start)} ${flow.relation} ${bare(flow.end)}`)].join("; ")}.`);
}

/** One column further than all that feeds it; where they feed one another in a circle, no further than there are columns. */
function columns(flows) {
  const found = new Map();
  for (let pass = 1; pass < COLUMNS_MAX; pass++) {
    for (const flow of flows)
      if (flow.relation === "feeds")
        found.set(flow.end, Math.max(found.get(flow.end) ?? 1, Math.min((found.get(flow.start) ?? 1) + 1, COLUMNS_MAX)));
  }
  return (source) => found.get(`source:${source.source}`) ?? 1;
}

function bare(id) {
  return id.slice(id.indexOf(":") + 1);
}

function junctions(found) {
  const lines = found.map((each) => {
    const [drawn, given, lost, sigma] = [each.drawn_j, each.given_j, each.difference_j, each.sigma_j].map((joules) => quantity(joules, "J"));
    return `${each.source} draws ${drawn}, what it feeds comes to ${given}: ${lost} arrive nowhere (give or take ${sigma}).`;
  });
  redraw("junctions", lines, () => lines.map((line) => make("li", {}, line)));
}

/** Sources that came into another regime, the last time of each kind of turn. */
function turns() {
  return atlas.edges
    .filter((edge) => edge.relation === "transitions" && edge.seen)
    .map((edge) => {
      const [was, now] = [bare(edge.start), bare(edge.end)].map((name) => name.slice(name.lastIndexOf("/") + 1));
      const often = edge.count > 1 ? `, ${count(edge.count)} times` : "";
      return {
        source: bare(edge.start).slice(0, -was.length - 1),
        at: edge.seen,
        kind: "turn",
        what: `regime${often}`,
        before: was,
        since: now,
      };
    });
}

/** The latest shifts of each source that ever shifted; a source is asked for only then. */
async function shifts() {
  const shifted = sources.filter((source) => source.shifts > 0).map((source) => source.source);
  for (const source of latest.keys()) if (!shifted.includes(source)) latest.delete(source);
  await Promise.all(
    shifted.map((source) =>
      panel("shifts-note", "eil.regime_status", { source }, (found) => latest.set(source, found.sources[0]?.latest ?? [])),
    ),
  );
  const metrics = [...latest].flatMap(([source, list]) => list.map((shift) => metric(source, shift)));
  const found = [...metrics, ...turns()].sort((one, other) => (one.at < other.at ? 1 : -1)).slice(0, SHIFTS_MAX);
  table(
    "shift-rows",
    found.map((each) => [day(each.at), each.source, each.what, each.before, each.since]),
    ["nowrap"],
    "no shift so far",
  );
  const names = [...new Set(found.map((each) => each.source))].sort();
  const marks = found.map((each) => ({
    source: each.source,
    at: Date.parse(each.at),
    kind: each.kind,
    words: `${each.source}: ${each.what} from ${each.before} to ${each.since}, ${day(each.at)}`,
  }));
  const ends = [...marks.map((mark) => mark.at), ...sources.map((source) => Date.parse(source.newest))];
  const [begin, end] = [Math.min(...ends), Math.max(...ends)];
  redraw("shifts", [marks, ends], () => (marks.length ? [timeline(names, marks, begin - (end - begin) / 10, end)] : []));
}

function metric(source, { metric, at, mean_before, mean_after }) {
  return {
    source,
    at,
    kind: mean_after > mean_before ? "up" : "down",
    what: metric,
    before: number(mean_before),
    since: number(mean_after),
  };
}

function entered(id) {
  const text = at(id).value.trim();
  return text === "" ? null : Number(text);
}

async function decide() {
  const [servers, percent, least] = ["act-servers", "act-utilisation", "act-replicas"].map(entered);
  const params = { goal: at("act-goal").value, current_state: { active_servers: servers, avg_utilization: percent / 100 } };
  if (least !== null) params.constraints = { min_replicas: least };
  const found = await wish("act-answer", "eil.act", params, (done) => {
    const saved = quantity(done.action.expected_energy_savings, "J");
    const how = done.feasible
      ? `would save ${saved} in ${number(done.horizon_s)} s (${done.action.expected_energy_savings_provenance})`
      : "for want of anything that keeps the bounds";
    return `${deedOf(done.action.type, done.action.target_servers)}: ${how}. irer advises and changes nothing.`;
  });
  if (found === null) return;
  const chosen = {
    type: found.action.type,
    target_servers: found.action.target_servers,
    cost_j: found.cost_terms.total_j,
    allowed: found.feasible,
    chosen: true,
  };
  const all = [chosen, ...found.alternatives.map((each) => ({ ...each, chosen: false }))].sort((one, other) => one.cost_j - other.cost_j);
  const shown = all.map((each) => ({
    label: deedOf(each.type, each.target_servers),
    value: each.cost_j,
    chosen: each.chosen,
    allowed: each.allowed,
    words: `${number(each.cost_j)} J${each.allowed ? "" : ", breaks a bound"}`,
  }));
  redraw("decision", shown, () => [
    bars(shown, shown.map((bar) => `${bar.label}: ${bar.words}${bar.chosen ? ", chosen" : ""}`).join("; ")),
  ]);
}

function deedOf(type, servers) {
  return `${DEEDS[type] ?? spaced(type)}${servers && type.startsWith("scale") ? ` to ${count(servers)}` : ""}`;
}

/** One event that became durable. @param {any} event */
export function event(event) {
  if (event.type !== "energy.action_chosen") return;
  const { owner, goal, candidates } = event.data;
  const deed = deedOf(candidates[0].type, candidates[0].target_servers);
  decisions.unshift([`${clock(event.time)} ${owner}, ${spaced(goal)}: ${deed} among ${count(candidates.length)} candidates`]);
  decisions.length = Math.min(decisions.length, DECISIONS_MAX);
  show("decisions-note", false);
  redraw("decisions", decisions, () => decisions.map((words) => make("li", {}, ...words)));
}

function prices(found) {
  const rows = Object.entries(found.prices).map(([asset, price]) => [
    asset,
    `${number(price.price)} ${found.currency}`,
    `${number(price.sell_price)} ${found.currency}`,
    Object.entries(price.factors)
      .map(([name, factor]) => `${spaced(name)} ${number(factor)}`)
      .join(" × "),
  ]);
  table("market", rows, ["", "number", "number", "made"]);
  options("quote-asset", Object.keys(found.prices));
}

function balances(found) {
  const rows = found.accounts.map((account) => [account.owner, account.asset, number(account.amount)]);
  table("balances", rows, ["", "", "number"], "nobody has traded");
}

async function offer() {
  const params = { asset: at("quote-asset").value, side: at("quote-side").value, quantity: Number(at("quote-units").value) };
  quote = await wish(
    "quote-answer",
    "eil.market_quote",
    params,
    (done) =>
      `${done.side} ${number(done.quantity)} ${done.asset}: ${number(done.price)} ${done.currency}, until ${clock(done.expires_at)}.`,
  );
  show("trade", quote !== null);
}

async function trade() {
  const { quote_id } = quote;
  const done = await wish(
    "quote-answer",
    "eil.market_trade",
    { quote_id },
    (done) => `Booked: ${done.side} ${number(done.quantity_micro / 1e6)} ${done.asset}.`,
  );
  if (done !== null) show("trade", false);
}
