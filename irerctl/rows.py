"""The commands made from rows, with their help. Written by `python -m irerctl.generic`; do not edit."""

ROWS = {
    "cache": {
        "delete": "Take a key's value away",
        "get": "A key's value and revision",
        "ls": "Keys by name, with their revisions and sizes",
        "set": "Give a key a value, online or not",
    },
    "engine": {
        "": "Pools and tasks in one line",
        "cancel": "Stop a task, or take it out of the queue",
        "health": "Each pool: ok, degraded or failed, why, and what to do",
        "pools": "Pools: size, used, waiting",
        "scale": "Change a pool's size within its floor and ceiling",
        "submit": "Ask for units of a pool, for a time or for a named job",
        "tasks": "Tasks, the newest first",
    },
    "gate": {
        "": "Refusals of access, and what was unusual",
        "check": "Ask whether a token opens a gate; the question goes on record",
        "issue": "Make a token that opens the gate of one domain for one subject",
        "policy": "What the gates ask of tokens",
        "revoke": "End a token before its time",
        "rotate": "Sign tokens with another key; those of the old one end at once, or after a grace",
        "set-policy": "Change what a gate asks of tokens",
        "tokens": "Tokens that open a gate now, without the tokens themselves",
    },
    "nav": {
        "": "Domains, their routes, and which one is taken now",
        "go": "Go through a domain's gate with a token, by the first route that works",
        "report": "Tell how it went on a route; enough failures in a row take it down",
        "set": "Change how a route is used: whether at all, and its thresholds",
    },
    "offline": {
        "": "Keys, bytes, hits, and what waits to be synced",
        "conflicts": "Keys that were edited in two places at once",
        "queue": "What waits to be synced, oldest first",
        "resolve": "Say which revision of a key is to stay",
    },
}
