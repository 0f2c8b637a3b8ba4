"""The hunt engine: an evolutionary search over the model's parameters, whose only truth is its log.

A caller begins it and may stop it; everything between is irer's own doing, so a hunt that was interrupted anywhere goes on by
itself and comes to the same. The parts: `space`, `draws`, `nsga2`, `fronts` and `hypervolume` the optimiser; `generations` whom it
asks for and what they come to; `state` what is known; `start`, `commands` and `reads` the methods; `ledger` the rows as CSV.
"""

from core.engine import CancelJob, Engine, JobEnded, internal, read, task, write
from core.hunt import certify, commands, events, reads, state
from core.hunt.start import Start
from core.system import Seen

ENGINE = Engine(
    "hunt",
    log=state.LOG,
    state=state.Hunts,
    wanted=commands.wanted,
    checks=reads.checks,
    dump=state.dump,
    load=state.load,
    jobs=reads.jobs,
    rows=[
        write(
            "start",
            Start,
            commands.decide_start,
            apply={
                events.HuntStarted: state.apply_started,
                events.HuntAsked: state.apply_asked,
                events.HuntScored: state.apply_scored,
                events.ChunkFailed: state.apply_chunk_failed,
                events.GenerationClosed: state.apply_generation,
                events.HuntCompleted: state.apply_completed,
                events.HuntFailed: state.apply_failed,
            },
            reply=commands.begun,
            help="Begin a search for parameters, which runs by itself",
            example={"num_generations": 2, "population_size": 4, "seed": 7, "settings": {"grid": {"n": 16}, "steps": 16}},
            cli="hunt start",
        ),
        read(
            "status",
            commands.Which,
            reads.status,
            help="How far a hunt is, and what it has found",
            example={},
            cli="hunt status [HUNT_ID]",
        ),
        task(
            "watch",
            reads.WatchHunts,
            help="Follow what happens in hunts",
            example={},
            item=Seen,
            deadline_ms=None,
            cli="hunt watch",
        ),
        write(
            "stop",
            commands.Which,
            commands.decide_stop,
            apply={events.HuntStopping: state.apply_stopping, events.HuntStopped: state.apply_stopped},
            reply=commands.halted,
            help="Finish what is being computed, then stop; asked twice, stop at once",
            example={},
            cli="hunt stop [HUNT_ID]",
        ),
        write(
            "resume",
            commands.Resume,
            commands.decide_resume,
            apply={events.HuntResumed: state.apply_resumed},
            help="Let a hunt that ended go on",
            example={"add_generations": 1},
            cli="hunt resume [HUNT_ID]",
        ),
        read("list", reads.ListHunts, reads.page, help="Hunts, the newest first", example={}, cli="hunt list"),
        task(
            "best",
            commands.Which,
            help="The provenance of the best candidate: the golden parameters",
            example={},
            result=reads.BestRun,
            cli="hunt best [HUNT_ID]",
        ),
        read(
            "ledger",
            reads.ListRows,
            reads.rows,
            help="Rows of a hunt, in any order",
            example={"sort": "log_prime_sse", "limit": 10},
            cli="hunt ledger [HUNT_ID]",
        ),
        task(
            "paradox",
            commands.Which,
            help="Whether good scores go with instability, over the rows of a hunt",
            example={},
            result=reads.Paradox,
            needs="hunt:read",
            cli="hunt paradox [HUNT_ID]",
        ),
        write(
            "certify",
            certify.Certify,
            certify.decide_certify,
            apply={
                events.CertificateBegun: state.apply_certificate_begun,
                events.Certified: state.apply_certified,
                events.CertificateFailed: state.apply_certificate_failed,
            },
            help="Run a candidate again with fresh seeds, a finer grid and a smaller step, and judge it",
            example={},
            cli="hunt certify [JOB_UUID]",
        ),
        internal("step", commands.Step, commands.decide_step),
        internal("job_ended", JobEnded, commands.decide_ended),
        internal("cancel_job", CancelJob, commands.decide_cancel),
    ],
)
