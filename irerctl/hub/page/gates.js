/** Gates, the ways behind them, the tokens that open them, and what was unusual there. */

import { badge, deed, make, redraw, say, show, table } from "./dom.js";
import { panel, wish } from "./panel.js";
import { clock, count, duration, spaced, when } from "./words.js";

const TOKENS_MAX = 20;
const ANOMALIES_MAX = 8;
const ROUTE_HEALTH = { up: "ok", "half-open": "degraded", down: "failed" };

const known = { policies: [], domains: [], routes: [] };

export async function refresh() {
  await Promise.all([
    panel("gates-note", "gate.policy", {}, (found) => (known.policies = found.policies)),
    panel("routes-note", "nav.routes", {}, (found) => (known.routes = found.routes)),
    panel("breaches-note", "gate.breaches", {}, breaches),
    panel("tokens-note", "gate.list", { limit: TOKENS_MAX }, tokens),
    panel("anomalies-note", "provenance.anomalies", { limit: ANOMALIES_MAX }, anomalies),
  ]);
  gates();
}

function gates() {
  const rows = known.policies.map((policy) => {
    const shown = known.domains.find((domain) => domain.domain === policy.domain) ?? { allowed: 0, refused: 0, causes: [] };
    const route = known.routes.find((each) => each.is_next && each.route.startsWith(`${policy.domain}/`));
    const way = route ? [route.route.split("/")[1], route.health] : ["none", "down"];
    const life = `${duration(policy.ttl_s_max)}${policy.single_use ? ", once only" : ""}`;
    return [policy.domain, way, count(shown.allowed), count(shown.refused), spaced(shown.causes[0]?.cause ?? "-"), life];
  });
  table("gates", rows, ["", "", "number", "number", "", "number"], "none", ([domain, [way, health], ...rest]) => [
    domain,
    make("span", { class: "nowrap" }, `${way} `, badge(ROUTE_HEALTH[health], health)),
    ...rest,
  ]);
}

function tokens(found) {
  const rows = found.tokens.map((token) => [
    token.subject,
    token.domain + (token.kind === "offline" ? ", offline" : ""),
    token.scopes.join(", ") || "-",
    token.expires_at,
    count(token.used),
    token.jti,
  ]);
  table("tokens", rows, ["", "", "", "nowrap", "number"], "none", ([subject, domain, scopes, ends, used, jti]) => [
    subject,
    domain,
    scopes,
    clock(ends),
    used,
    revoke(subject, jti),
  ]);
  if (found.next) {
    say("tokens-note", `The first ${TOKENS_MAX}. All: irerctl gate`);
    show("tokens-note", true);
  }
}

function revoke(subject, jti) {
  return deed("Revoke", `Revoke the token of ${subject} ${jti.slice(0, 8)}`, () =>
    wish("tokens-answer", "gate.revoke_token", { jti }, () => `The token of ${subject} opens nothing any more.`),
  );
}

function breaches(found) {
  known.domains = found.domains ?? [];
  const lines = [
    ...(found.slowed ?? []).map((each) => [
      `${each.caller} is slowed for ${duration(each.left_s)} more: ${count(each.failures)} credentials that did not hold`,
      each.since,
    ]),
    ...(found.anomalies ?? []).map((each) => [
      `${each.kind === "breach" ? "Refused tokens" : "Many checks"} at gate ${each.domain} from ${each.who}: ${count(each.count)} within a minute`,
      each.at,
    ]),
  ];
  redraw("breaches", lines, () => lines.map(line));
  known.breaches = lines.length;
}

function anomalies(found) {
  const lines = found.anomalies.map((each) => [`${spaced(each.kind)}, ${each.of} ${each.name}: ${each.evidence}`, each.time]);
  redraw("anomalies", lines, () => lines.map(line));
  show("no-anomalies", lines.length + (known.breaches ?? 0) === 0);
}

function line([words, moment]) {
  return make("li", {}, make("span", {}, words), make("span", { class: "note" }, ` ${when(moment)}`));
}
