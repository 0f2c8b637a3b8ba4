"""How the gate engine looks: who may come in, who was refused and why, and what was unusual.

`overview` is `irerctl gate`. A token is never drawn here: what is drawn is known about tokens.
"""

from collections.abc import Mapping, Sequence
from typing import Any

from irerctl import render
from irerctl.figures import coloured, moment, number
from irerctl.session import Session

WATCHED = "gate"
TOKENS_SHOWN = 8
KIND_COLOURS = {"offline": "yellow"}
UNUSUAL = {"rate": "checks of tokens of", "breach": "refused tokens from"}


def overview(now: Session) -> None:
    """Domains, live tokens, refusals and what was unusual: three reads on one connection."""
    with render.Waiting("waiting for the gates"), now.connect() as client:
        breaches = client.call("gate.breaches").result
        policies = client.call("gate.policy").result["policies"]
        tokens = client.call("gate.list", {"limit": TOKENS_SHOWN}).result
    now.show({**breaches, "policies": policies, "tokens": tokens["tokens"], "next": tokens.get("next")}, _draw_overview)


def _draw_overview(found: Mapping[str, Any]) -> None:
    draw_anomalies(found.get("anomalies") or ())
    draw_slowed(found.get("slowed") or ())
    _draw_domains(found.get("domains") or (), {each["domain"]: each for each in found["policies"]})
    render.say()
    if found["tokens"]:
        draw_tokens({"tokens": found["tokens"]})
    else:
        render.say("no token opens a gate now")
    if found.get("next"):
        render.tell("… and more: irerctl gate tokens")
    render.say()
    _draw_callers(found)
    render.tell("Try: irerctl gate issue DOMAIN SUBJECT   or: irerctl help gate")


def status_line(found: Mapping[str, Any]) -> tuple[str, str]:
    """`12 let in  3 refusals, most of uid:1001  1 unusual`."""
    refused, callers = found.get("refused", 0), found.get("callers") or ()
    allowed = sum(each.get("allowed", 0) for each in found.get("domains") or ())
    parts = [f"{render.count(allowed)} let in"] if allowed else []
    most = f", most of {render.clean(str(callers[0]['caller']))}" if callers else ""
    parts.append(f"{render.plural(refused, 'refusal')}{most}" if refused else "nobody was refused")
    if slowed := len(found.get("slowed") or ()):
        parts.append(render.paint(f"{slowed} slowed", fg="yellow"))
    if unusual := len(found.get("anomalies") or ()):
        parts.append(render.paint(f"{unusual} unusual", fg="yellow"))
    return "gates", "  ".join(parts)


def draw_slowed(slowed: Sequence[Mapping[str, Any]]) -> None:
    """Callers whose wrong keys and tokens are answered late."""
    for each in slowed[:3]:
        who = render.clean(str(each["caller"]))
        text = f"{who} showed {number(each['failures'])} keys or tokens that did not hold: answers to such wait for "
        text += f"{render.duration(each['left_s'])} more; what holds is let in as ever. To end that: irerctl gate free {who}"
        for line in render.wrapped(text, f"{render.paint('!', fg='yellow', bold=True)} {moment(each['since'])}  "):
            render.say(line)
    if len(slowed) > 3:
        render.say(f"  and {len(slowed) - 3} more: irerctl -o json gate")
    if slowed:
        render.say()


def draw_freed(found: Mapping[str, Any]) -> None:
    render.say(f"{render.clean(str(found['caller']))} is slowed no more" if found else "nothing changed: they are not slowed now")


def draw_anomalies(anomalies: Sequence[Mapping[str, Any]]) -> None:
    """The newest first, each on a line, before everything else."""
    for each in anomalies[:3]:
        what = UNUSUAL.get(str(each["kind"]), render.clean(str(each["kind"])))
        text = f"{number(each['count'])} {what} {render.clean(str(each['who']))} at {render.clean(str(each['domain']))}"
        lead = f"{render.paint('!', fg='yellow', bold=True)} {moment(each['at'])}  "
        for line in render.wrapped(f"{text} within a minute", lead):
            render.say(line)
    if len(anomalies) > 3:
        render.say(f"  and {len(anomalies) - 3} more: irerctl -o json gate")
    if anomalies:
        render.say()


def _draw_domains(domains: Sequence[Mapping[str, Any]], policies: Mapping[str, Mapping[str, Any]]) -> None:
    rows = []
    for each in domains:
        policy = policies.get(each["domain"], {})
        why = ", ".join(f"{number(cause['refused'])} {render.clean(cause['cause'])}" for cause in each.get("causes") or ())
        asks = "once" if policy.get("single_use") else "-"
        life = render.duration(policy["ttl_s_max"]) if policy.get("ttl_s_max") else "-"
        rows.append([render.clean(each["domain"]), number(each["allowed"]), number(each["refused"]), why or "-", life, asks])
    render.table(["domain", "let in", "refused", "why", "life at most", "use"], rows, right=["let in", "refused"])


def _draw_callers(found: Mapping[str, Any]) -> None:
    callers = found.get("callers") or ()
    for each in callers[:3]:
        render.say(f"{number(each['refused'])} refused to {render.clean(str(each['caller']))}")
    refused = found.get("refused")
    render.say(f"{render.plural(refused, 'refusal')} since the log began" if refused else "nobody was refused")


def draw_breaches(found: Mapping[str, Any]) -> None:
    draw_anomalies(found.get("anomalies") or ())
    draw_slowed(found.get("slowed") or ())
    _draw_callers(found)


def draw_tokens(page: Mapping[str, Any]) -> None:
    tokens = page["tokens"]
    if not tokens:
        render.say("no token opens a gate now")
    else:
        rows = [
            [
                render.clean(each["jti"]),
                coloured(each["kind"], KIND_COLOURS),
                render.clean(each["domain"]),
                render.clean(each["subject"]),
                render.word(each.get("scopes") or []),
                moment(each["expires_at"]),
                number(each.get("used", 0)),
            ]
            for each in tokens
        ]
        render.table(["jti", "kind", "domain", "subject", "scopes", "until", "used"], rows, right=["used"])
    if page.get("next"):
        render.note(f"More: add --after {render.clean(str(page['next']))}")


def draw_checked(found: Mapping[str, Any]) -> None:
    if found["allowed"]:
        render.say(render.verdict("ok", "yes: it opens the gate"))
    else:
        render.say(f"{render.verdict('failed', 'no')}: {render.clean(str(found.get('reason', '')))}")
        render.note("How often and why tokens were refused, by domain: irerctl gate")


def draw_policies(found: Mapping[str, Any]) -> None:
    columns = ["domain", "life at most", "use", "checks a minute", "rev"]
    rows = [
        [
            render.clean(each["domain"]),
            render.duration(each["ttl_s_max"]),
            "once" if each["single_use"] else "until it ends",
            number(each["rate_max"]),
            number(each["rev"]),
        ]
        for each in found["policies"]
    ]
    render.table(columns, rows, right=["checks a minute", "rev"])


def draw_revoked(found: Mapping[str, Any]) -> None:
    render.say(
        f"{render.clean(str(found['jti']))} opens nothing from now on" if found else "nothing changed: it was revoked before"
    )


def draw_policy_set(found: Mapping[str, Any]) -> None:
    if found:
        draw_policies({"policies": [found]})
    else:
        render.say("nothing changed: it asks just that")


def draw_rotated(found: Mapping[str, Any]) -> None:
    old = f"hold for {render.duration(found['grace_s'])} more" if found.get("grace_s") else "open nothing from now on"
    kind = render.clean(str(found["kind"]))
    render.say(f"{kind} tokens are signed with key {number(found['generation'])}; those of the key before {old}")


DRAW = {
    "gate.breaches": draw_breaches,
    "gate.free": draw_freed,
    "gate.list": draw_tokens,
    "gate.check": draw_checked,
    "gate.policy": draw_policies,
    "gate.revoke_token": draw_revoked,
    "gate.set_policy": draw_policy_set,
    "gate.rotate_key": draw_rotated,
}
