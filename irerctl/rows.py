"""The commands made from rows, with their help. Written by `python -m irerctl.generic`; do not edit."""

ROWS = {
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
        "": "Refusals of access, by caller",
    },
}
