/** Engine control: who is registered, where they may act, why a judgement comes out as it does. */

import { at, badge, make, options, pairs, redraw, say, sent, table } from "./dom.js";
import { due, panel, wish } from "./panel.js";
import { clock, count, spaced, when } from "./words.js";

const ROWS_MAX = 50;
const JUDGEMENTS_MAX = 8;
const JUDGEMENTS_S = 4;
const STANDINGS = { active: "ok", suspended: "degraded", revoked: "failed" };
const STATUSES = { available: "ok", maintenance: "degraded", disabled: "failed" };
const OUTCOMES = { allowed: "ok", allows: "ok", passes: "ok", denied: "failed", denies: "failed", error: "failed", lacks: "degraded" };

let platforms = [];

export function begin() {
  sent("platform-form", () =>
    wish(
      "platforms-answer",
      "platforms.set_status",
      { platform: at("platform-name").value, status: at("platform-status").value },
      (done) => (done.platform ? `${done.platform} is ${done.status}.` : "It had that status already."),
    ),
  );
  at("explain-platform").addEventListener("change", actions);
  sent("explain-form", explain);
}

export async function refresh() {
  await Promise.all([
    panel("callers-note", "engines.list", { limit: ROWS_MAX }, engines),
    panel("platforms-note", "platforms.list", { limit: ROWS_MAX }, listed),
    due("judgements", JUDGEMENTS_S) ? panel("judgements-note", "log.query", { limit: JUDGEMENTS_MAX }, judgements) : null,
  ]);
}

function engines(found) {
  const rows = found.engines.map((engine) => [
    engine.engine_id,
    engine.standing,
    count(engine.allowed),
    count(engine.denied),
    when(engine.proved_at),
  ]);
  table("callers", rows, ["", "", "number", "number", "nowrap"], "none is registered", ([name, standing, ...rest]) => [
    name,
    badge(STANDINGS[standing], standing),
    ...rest,
  ]);
  options(
    "explain-engine",
    found.engines.map((engine) => engine.engine_id),
  );
}

function listed(found) {
  platforms = found.platforms;
  const words = (actions) =>
    Object.entries(actions)
      .map(([action, scopes]) => (scopes.length ? `${action} (${scopes.join(", ")})` : action))
      .join(", ");
  const rows = platforms.map((platform) => [platform.platform, platform.status, words(platform.actions)]);
  table("platforms", rows, [], "none is defined", ([name, status, actions]) => [name, badge(STATUSES[status], status), actions]);
  const names = platforms.map((platform) => platform.platform);
  options("platform-name", names);
  options("explain-platform", names);
  actions();
}

function actions() {
  const chosen = platforms.find((platform) => platform.platform === at("explain-platform").value);
  options("explain-action", Object.keys(chosen?.actions ?? {}));
}

async function explain() {
  const params = { engine_id: at("explain-engine").value, platform: at("explain-platform").value, action_type: at("explain-action").value };
  // The judgement last: where it is refused, that is what stands above it.
  await panel("explain-note", "engines.get", { engine_id: params.engine_id }, permissions);
  await panel("explain-note", "actions.explain", params, (found) => {
    say("explain-result", `${found.allowed ? "Yes" : "No"}: ${spaced(found.reason)}, by ${found.rule}`);
    redraw("explain-steps", found.steps, () => found.steps.map(step));
  });
}

function permissions(found) {
  pairs("permissions", [
    [`${found.engine_id} may`, named(found.allow)],
    ["and may never", named(found.deny)],
  ]);
}

function named(actions) {
  return Object.entries(actions).flatMap(([platform, names]) => names.map((name) => `${platform}.${name}`)).join(", ") || "nothing";
}

function step(found) {
  const change = found.change ? make("code", { class: "change" }, found.change) : null;
  return make(
    "li",
    {},
    badge(OUTCOMES[found.outcome] ?? "", spaced(found.outcome.replaceAll("-", " "))),
    make("span", {}, ` ${found.detail}`),
    change,
  );
}

function judgements(found) {
  const rows = found.records.map((each) => [
    each.timestamp,
    each.engine_id,
    `${each.platform}.${each.action_type}`,
    each.status,
    each.rule,
  ]);
  table("judgements", rows, ["nowrap", "", "", "", "rule"], "none yet", ([time, engine, action, status, rule]) => [
    clock(time),
    engine,
    action,
    badge(OUTCOMES[status], status),
    rule,
  ]);
}
