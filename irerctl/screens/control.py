"""How engine control looks: which engines there are, what each may do, where, and what was asked lately.

`overview` is `irerctl control`.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from irerctl import render
from irerctl.figures import coloured, moment, number
from irerctl.session import Session

WATCHED = "control"
SHOWN = 8
COLOURS = {
    "active": "green",
    "suspended": "yellow",
    "revoked": "red",
    "available": "green",
    "maintenance": "yellow",
    "disabled": "red",
    "allowed": "green",
    "denied": "yellow",
    "error": "red",
}


def overview(now: Session) -> None:
    """Engines, platforms, flags and the latest judgements on one connection."""
    with render.Waiting("waiting for engine control"), now.connect() as client:
        found = {
            "status": client.call("control.status").result,
            "engines": client.call("engines.list", {"limit": SHOWN}).result["engines"],
            "platforms": client.call("platforms.list", {"limit": SHOWN}).result["platforms"],
            "flags": client.call("config.global").result["flags"],
            "records": client.call("log.query", {"limit": SHOWN}).result["records"],
        }
    now.show(found, _draw_overview)


def _draw_overview(found: Mapping[str, Any]) -> None:
    status = found["status"]
    unproved = status.get("proofs_refused")
    if unproved:
        render.say(f"{render.paint('!', fg='yellow', bold=True)} {number(unproved)} times a key was shown that did not hold")
        render.say()
    draw_engines({"engines": found["engines"]})
    render.say()
    draw_platforms({"platforms": found["platforms"]})
    off = sorted(flag for flag, enabled in found["flags"].items() if not enabled)
    if off:
        render.say(f"\noff by flag: {render.word(off)}")
    if found["records"]:
        render.say()
        draw_log({"records": found["records"]})
    render.tell("Try: irerctl control check ENGINE_ID PLATFORM ACTION_TYPE   or: irerctl control --help")


def status_line(status: Mapping[str, Any]) -> tuple[str, str]:
    """`3 engines  2 platforms  1 in maintenance  14 allowed  2 denied`."""
    parts = [render.plural(status.get("engines", 0), "engine")]
    if status.get("suspended"):
        parts.append(render.paint(f"{render.count(status['suspended'])} suspended", fg="yellow"))
    parts.append(render.plural(status.get("platforms", 0), "platform"))
    if status.get("not_available"):
        parts.append(render.paint(f"{render.count(status['not_available'])} not available", fg="yellow"))
    parts += [f"{render.count(status[name])} {name}" for name in ("allowed", "denied") if status.get(name)]
    if status.get("errors"):
        parts.append(render.paint(f"{render.count(status['errors'])} not judged", fg="red"))
    return "control", "  ".join(parts)


def draw_status(status: Mapping[str, Any]) -> None:
    label, text = status_line(status)
    render.say(f"{label}  {text}")


def draw_engines(page: Mapping[str, Any]) -> None:
    if page["engines"]:
        rows = [
            [
                render.clean(each["engine_id"]),
                coloured(each["standing"], COLOURS),
                number(each["allowed"]),
                number(each["denied"]),
                moment(each.get("proved_at")),
                number(each["rev"]),
            ]
            for each in page["engines"]
        ]
        render.table(["engine", "standing", "may", "may not", "proved", "rev"], rows, right=["may", "may not", "rev"])
    else:
        render.say("no engines are registered")
    _more(page)


def draw_engine(engine: Mapping[str, Any]) -> None:
    lines = {
        "engine": f"{render.clean(engine['engine_id'])}  {coloured(engine['standing'], COLOURS)}  revision {number(engine['rev'])}",
        "may": actions(engine.get("allow") or {}),
        "may not": actions(engine.get("deny") or {}),
        "key": f"number {number(engine['key'])}, proved {moment(engine.get('proved_at'))}",
        "registered": f"{moment(engine['registered_at'])} by {render.clean(str(engine['registered_by']))}",
    }
    if engine.get("old_key_until"):
        lines["old key"] = f"good until {moment(engine['old_key_until'])}"
    render.pairs(lines)


def actions(held: Mapping[str, Sequence[str]]) -> str:
    """`gmail: read, send   slack: post`."""
    return "   ".join(f"{render.clean(platform)}: {render.word(list(names))}" for platform, names in held.items()) or "nothing"


def draw_platforms(page: Mapping[str, Any]) -> None:
    if page["platforms"]:
        rows = [
            [render.clean(each["platform"]), coloured(each["status"], COLOURS), _scoped(each["actions"])]
            for each in page["platforms"]
        ]
        render.table(["platform", "status", "actions (scopes)"], rows)
    else:
        render.say("no platforms are defined")
    _more(page)


def _scoped(known: Mapping[str, Sequence[str]]) -> str:
    return (
        render.clean(", ".join(f"{action} ({' '.join(scopes)})" if scopes else action for action, scopes in known.items())) or "-"
    )


def draw_flags(found: Mapping[str, Any]) -> None:
    revs = found.get("revs") or {}
    rows = [
        [render.clean(flag), "on" if enabled else render.paint("off", fg="yellow"), number(revs.get(flag))]
        for flag, enabled in found["flags"].items()
    ]
    if rows:
        render.table(["flag", "is", "rev"], rows, right=["rev"])
    else:
        render.say("no flag was ever set, so all are on")
    versions = found.get("api_versions") or {}
    render.say("versions: " + "  ".join(f"{render.clean(name)} {render.clean(str(each))}" for name, each in versions.items()))


def draw_config(found: Mapping[str, Any]) -> None:
    over = found.get("set") or {}
    rows = []
    for key, value in found["values"].items():
        by = over.get(key)
        source = f"set {moment(by['at'])} by {render.clean(str(by['by']))}" if by else "the file, or its default"
        rows.append([render.clean(key), render.word(value), source])
    render.table(["key", "in force", "from"], rows)


def draw_log(page: Mapping[str, Any]) -> None:
    if page["records"]:
        rows = [
            [
                moment(each["timestamp"]),
                render.clean(each["engine_id"]),
                f"{render.clean(each['platform'])}.{render.clean(each['action_type'])}",
                coloured(each["status"], COLOURS),
                render.clean(each["reason"]),
                render.clean(each["rule"]),
            ]
            for each in page["records"]
        ]
        render.table(["when", "engine", "action", "was", "reason", "rule"], rows)
    else:
        render.say("nothing was judged")
    _more(page)


def _more(page: Mapping[str, Any]) -> None:
    if page.get("next") is not None:
        render.note(f"More: add --after {render.clean(str(page['next']))}")


def draw_checked(found: Mapping[str, Any]) -> None:
    reason, rule = render.clean(str(found["reason"])), render.clean(str(found["rule"]))
    lead = render.verdict("ok", "allowed") if found["allowed"] else render.verdict("failed", "denied")
    scopes = found.get("required_scopes") or []
    needs = f"; it needs the scopes {render.word(scopes)}" if scopes else ""
    render.say(f"{lead}: {reason}, by rule {rule}{needs}")
    render.say(f"on record as {render.clean(str(found['request_id']))}")


OUTCOMES = {"passes": "green", "allows": "green", "denies": "red", "lacks": "yellow"}


def draw_explained(found: Mapping[str, Any]) -> None:
    """The verdict, and under it a branch for each rule in the order in which they are asked."""
    recorded = found.get("recorded")
    if recorded:
        what = f"{recorded['engine_id']} wanted {recorded['platform']}.{recorded['action_type']}"
        render.say(f"{moment(recorded['timestamp'])} {render.clean(what)}, asked by {render.clean(str(recorded['actor']))}")
    _draw_verdict(found)
    _draw_steps(found["steps"])
    if found.get("now"):
        render.say("\nnow it would be")
        _draw_verdict(found["now"])
        _draw_steps(found["now"]["steps"])


def _draw_verdict(found: Mapping[str, Any]) -> None:
    lead = render.verdict("ok", "allowed") if found["allowed"] else render.verdict("failed", "denied")
    render.say(f"{lead}: {render.clean(str(found['reason']))}, by rule {render.clean(str(found['rule']))}")


def _draw_steps(steps: Sequence[Mapping[str, Any]]) -> None:
    decided = False
    for place, step in enumerate(steps):
        last = place == len(steps) - 1
        decides = not decided and step["outcome"] in ("denies", "allows")
        decided = decided or decides
        outcome = render.paint(render.clean(str(step["outcome"])), fg=OUTCOMES.get(step["outcome"]), bold=decides)
        lead = f"{'└─' if last else '├─'} {outcome}  "
        for line in render.wrapped(f"{render.clean(step['detail'])} ({render.clean(step['rule'])})", lead):
            render.say(line)
        if step.get("change"):
            for line in render.wrapped(f"to change it: {render.clean(step['change'])}", f"{' ' if last else '│'}     "):
                render.say(line)


def draw_diff(found: Mapping[str, Any]) -> None:
    looked = render.plural(found["looked_at"], "judgement")
    lines = ["nothing that was judged is on record since then, so nothing can be told"]
    if found.get("oldest_at"):
        whole = "all there are on record" if found["complete"] else "the newest; there are older ones"
        lines = [f"{looked} looked at, {moment(found['oldest_at'])} to {moment(found['newest_at'])}: {whole}"]
    allowed, denied = number(found["would_allow"]), number(found["would_deny"])
    lines.append(f"it would allow {allowed} that were denied, and deny {denied} that were allowed")
    if found["already"]:
        lines.append(f"{number(found['already'])} come out otherwise than then without it too: the rules changed since")
    if found["left_out"]:
        lines.append(f"{number(found['left_out'])} were refused for who asked, which no proposal changes")
    for line in lines:
        for part in render.wrapped(line):
            render.say(part)
    if found["changes"]:
        rows = [
            [
                render.clean(each["engine_id"]),
                f"{render.clean(each['platform'])}.{render.clean(each['action_type'])}",
                number(each["count"]),
                coloured(each["was"], COLOURS),
                coloured("allowed" if each["allowed"] else "denied", COLOURS),
                render.clean(each["rule"]),
                "without it too" if each["already"] else "by it",
                moment(each["last_at"]),
            ]
            for each in found["changes"]
        ]
        render.table(["engine", "action", "times", "was", "would be", "rule", "changes", "last"], rows, right=["times"])
    if found["changes_left_out"]:
        render.note(f"{number(found['changes_left_out'])} more kinds are not shown")


def draw_proof(found: Mapping[str, Any]) -> None:
    render.say(
        render.verdict("ok", "yes: the key holds") if found["valid"] else f"{render.verdict('failed', 'no')}: it does not hold"
    )


def draw_standing(word: str) -> Callable[[Mapping[str, Any]], None]:
    def draw(found: Mapping[str, Any]) -> None:
        render.say(f"{render.clean(str(found['engine_id']))} {word}" if found else "nothing changed: it was so before")

    return draw


def draw_permissions(found: Mapping[str, Any]) -> None:
    if not found:
        render.say("nothing changed: it may just that")
        return
    render.say(f"{render.clean(str(found['engine_id']))}, revision {number(found['rev'])}")
    render.pairs({"may": actions(found.get("allow") or {}), "may not": actions(found.get("deny") or {})})


def draw_defined(found: Mapping[str, Any]) -> None:
    known = f"{render.clean(str(found['platform']))} has the actions {_scoped(found['actions'])}" if found else ""
    render.say(known or "nothing changed: it is defined so")


def draw_platform(found: Mapping[str, Any]) -> None:
    if not found:
        render.say("nothing changed: it was so before")
        return
    denies = "" if found["status"] == "available" else ": every action on it is denied from now on"
    render.say(f"{render.clean(str(found['platform']))} is {coloured(found['status'], COLOURS)}{denies}")


def draw_flag(found: Mapping[str, Any]) -> None:
    if not found:
        render.say("nothing changed: it was so before")
    else:
        render.say(f"{render.clean(str(found['flag']))} is {'on' if found['enabled'] else 'off'}, revision {number(found['rev'])}")


def draw_key(found: Mapping[str, Any]) -> None:
    if not found:
        render.say("nothing changed: it has that value")
        return
    stands = "is set, and wins over the file" if found["set"] else "is what the file says"
    others = render.clean(", ".join(map(str, found.get("left_out") or ())))
    out = f". Not in force any more, see irerctl status: {others}" if others else ""
    render.say(f"{render.clean(str(found['key']))} {stands}; revision {number(found['rev'])}{out}")


def draw_tokens(page: Mapping[str, Any]) -> None:
    if page["tokens"]:
        rows = [
            [
                render.clean(each["jti"]),
                render.clean(each["subject"]),
                render.clean(each["role"]),
                moment(each["issued_at"]),
                render.clean(each["issued_by"]),
                moment(each["expires_at"]),
            ]
            for each in page["tokens"]
        ]
        render.table(["jti", "subject", "role", "issued", "by", "until"], rows)
    else:
        render.say("no token of the HTTP gateway is good now")
    _more(page)


def draw_token_checked(found: Mapping[str, Any]) -> None:
    if found["valid"]:
        whose = f"{render.clean(str(found['subject']))}, {render.clean(str(found['role']))}, until {moment(found['expires_at'])}"
        render.say(f"{render.verdict('ok', 'yes')}: it is good for {whose}")
    else:
        render.say(f"{render.verdict('failed', 'no')}: it is not good here")


def draw_token_revoked(found: Mapping[str, Any]) -> None:
    said = "is refused from now on; a hub that just took it follows within a second"
    render.say(f"{render.clean(str(found['jti']))} {said}" if found else "nothing changed: it was revoked before")


def draw_http_key(found: Mapping[str, Any]) -> None:
    render.say(f"no token of the HTTP gateway is good any more; the next are signed with key {number(found['generation'])}")


DRAW = {
    "control.status": draw_status,
    "engines.list": draw_engines,
    "engines.get": draw_engine,
    "engines.validate": draw_proof,
    "engines.suspend": draw_standing("is suspended, from its next call on"),
    "engines.unsuspend": draw_standing("may act again"),
    "engines.revoke": draw_standing("is revoked for ever, from its next call on"),
    "engines.set_permissions": draw_permissions,
    "platforms.define": draw_defined,
    "platforms.set_status": draw_platform,
    "config.set_flag": draw_flag,
    "config.set": draw_key,
    "platforms.list": draw_platforms,
    "config.global": draw_flags,
    "config.get": draw_config,
    "log.query": draw_log,
    "actions.check": draw_checked,
    "actions.explain": draw_explained,
    "actions.diff": draw_diff,
    "system.http_tokens": draw_tokens,
    "system.check_http_token": draw_token_checked,
    "system.rotate_http_key": draw_http_key,
    "system.revoke_http_token": draw_token_revoked,
}
