"""The gate engine: who was refused, and the tokens that open the gates of three domains.

Every refusal and every check of a token is in `gate_log` before its reply goes out. A flood from one caller is counted into one
event a second, so that nobody fills the disk by asking. No token, no key and no cause of a refusal ever leaves by an answer, but
for a token to the one it is made for, once.
"""

from core.engine import Engine, Nothing, internal, read, write
from core.gate import commands, events, reads, refusals, slowing, snapshot, state

EXAMPLE_TOKEN = "eyJhbGciOiJIUzI1NiIsInR5cCI6ImlyZXItZ2F0ZStqd3QifQ.e30.AAAA"
"""It opens nothing: being told so is an answer."""

ENGINE = Engine(
    "gate",
    log="gate_log",
    state=state.Gates,
    checks=reads.checks,
    dump=snapshot.dump,
    load=snapshot.load,
    dump_version=2,
    rows=[
        internal("refuse", refusals.Refuse, refusals.decide_refuse, apply={refusals.AccessRefused: refusals.apply_refused}),
        internal(
            "refuse_many",
            refusals.RefuseMany,
            refusals.decide_refuse_many,
            apply={refusals.AccessRefusedMany: refusals.apply_refused_many},
        ),
        write(
            "issue_token",
            commands.IssueToken,
            commands.decide_issue,
            apply={events.TokenIssued: state.apply_issued},
            result=commands.IssuedToken,
            shown_once=True,
            help="Make a token that opens the gate of one domain for one subject",
            example={"domain": "wealth", "subject": "user_001"},
            cli="gate issue DOMAIN SUBJECT",
        ),
        write(
            "check",
            commands.CheckToken,
            commands.decide_check,
            apply={events.TokenChecked: state.apply_checked, events.AnomalyRaised: state.apply_anomaly},
            reply=commands.answer_check,
            help="Ask whether a token opens a gate; the question goes on record",
            example={"token": EXAMPLE_TOKEN, "domain": "wealth"},
            cli="gate check DOMAIN",
        ),
        write(
            "revoke_token",
            commands.RevokeToken,
            commands.decide_revoke,
            apply={events.TokenRevoked: state.apply_revoked},
            help="End a token before its time",
            example={"jti": "0b54a9a2-6d2c-4c3e-9d51-0d8a3f6f2f10"},
            cli="gate revoke JTI",
        ),
        read(
            "list",
            reads.ListTokens,
            reads.tokens,
            help="Tokens that open a gate now, without the tokens themselves",
            example={"domain": "wealth"},
            cli="gate tokens",
        ),
        read(
            "policy", reads.AskPolicy, reads.policies, help="What the gates ask of tokens", example={}, cli="gate policy [DOMAIN]"
        ),
        write(
            "set_policy",
            commands.SetPolicy,
            commands.decide_policy,
            apply={events.PolicySet: state.apply_policy},
            help="Change what a gate asks of tokens",
            example={"domain": "wealth", "ttl_s_max": 600},
            needs="gate:admin",
            cli="gate set-policy DOMAIN",
        ),
        write(
            "rotate_key",
            commands.RotateKey,
            commands.decide_rotate,
            apply={events.KeyRotated: state.apply_rotated},
            help="Sign tokens with another key; those of the old one end at once, or after a grace",
            example={"kind": "gate", "grace_s": 60},
            needs="gate:admin",
            cli="gate rotate KIND",
        ),
        internal("slow", slowing.Slow, slowing.decide_slow, apply={slowing.CallerSlowed: slowing.apply_slowed}),
        write(
            "free",
            slowing.Free,
            slowing.decide_free,
            apply={slowing.CallerFreed: slowing.apply_freed},
            help="Slow a caller no more who showed very many wrong keys or tokens",
            example={"caller": "uid:1003"},
            needs="gate:admin",
            cli="gate free CALLER",
        ),
        read("breaches", Nothing, reads.breaches, help="Refusals of access, and what was unusual", example={}, cli="gate"),
    ],
)
