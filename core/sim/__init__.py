"""Single runs of the field: what one is asked for, how it came out, and what can be seen of it.

A run is a job: it begins with a record that holds every number it is computed from, outlives the connection and a restart, and ends
with a record of what it came to. The fields themselves are computed by workers and stand in a file of each run, never here.
"""

from core.engine import CancelJob, Engine, JobEnded, internal, read, task, write
from core.sim import commands, events, reads, runs

DEADLINE_MS = 600_000
"""Of what a worker reads out of a run's file: a thousand nulls of a large grid take minutes."""
SOME_RUN = {"job_uuid": "6f1b7d9e-3a52-4a63-9f0d-0d5a3c1e9b42"}

ENGINE = Engine(
    "sim",
    log="hunt_log",
    state=runs.Runs,
    wanted=commands.wanted,
    dump=runs.dump,
    load=runs.load,
    jobs=runs.jobs,
    rows=[
        write(
            "run",
            commands.AskRun,
            commands.decide_run,
            apply={
                events.RunStarted: runs.apply_started,
                events.RunFinished: runs.apply_finished,
                events.RunFailed: runs.apply_failed,
            },
            reply=commands.begun,
            help="Begin one run of the field",
            example={"params": {"eps": 0.9, "c3": -0.6}, "grid": {"n": 32}, "steps": 20, "seed": 7},
            cli="sim run",
        ),
        read("list", reads.ListRuns, reads.page, help="Runs, the newest first", example={}, cli="sim list"),
        task(
            "show",
            reads.ShowRun,
            help="Pictures of a run's fields at its end, and its spectrum",
            example={**SOME_RUN, "points": 32},
            result=reads.Picture,
            deadline_ms=DEADLINE_MS,
            cli="sim show JOB_UUID",
        ),
        task(
            "profile",
            reads.OneRun,
            help="A run's score, and what it is worth against chance",
            example=SOME_RUN,
            result=reads.Profile,
            deadline_ms=DEADLINE_MS,
            cli="sim profile JOB_UUID",
        ),
        task(
            "validate",
            reads.OneRun,
            help="Work out a run's metrics again from its file",
            example=SOME_RUN,
            result=reads.Validation,
            deadline_ms=DEADLINE_MS,
            cli="sim validate JOB_UUID",
        ),
        internal("job_ended", JobEnded, commands.decide_ended),
        internal("cancel_job", CancelJob, commands.decide_cancel),
    ],
)
