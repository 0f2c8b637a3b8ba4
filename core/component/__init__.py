"""The component engine: analyses that look at runs of the field, asked for by hand or begun by the hunt whose runs they are.

Each is described by a manifest and held to it. What one finds never changes the run it looked at.
"""

from core.component import commands, reads, trigger
from core.component.commands import RunBegun
from core.component.events import ComponentFinished, ComponentStarted
from core.component.model import Components, apply_finished, apply_started, dump, jobs, load, outputs_of
from core.engine import CancelJob, Engine, JobEnded, Nothing, internal, read, write

__all__ = ["ENGINE", "Components", "outputs_of"]

ENGINE = Engine(
    "component",
    log="hunt_log",
    state=Components,
    wanted=trigger.wanted,
    follows=("hunt",),
    dump=dump,
    load=load,
    jobs=jobs,
    rows=[
        write(
            "run",
            commands.RunComponent,
            commands.decide_run,
            apply={ComponentStarted: apply_started, ComponentFinished: apply_finished},
            reply=commands.begun,
            result=RunBegun,
            help="Begin to look at a run of the field with a component",
            example={"name": "bssn-check", "inputs": {"job_uuid": "123e4567-e89b-42d3-a456-426614174000"}},
            cli="component run NAME",
        ),
        read("list", Nothing, reads.listing, help="The components there are", example={}, cli="component ls"),
        read(
            "describe",
            reads.DescribeComponent,
            reads.describe,
            help="A component's manifest: what it takes, gives and lets be tuned",
            example={"name": "null-profile"},
            cli="component show NAME",
        ),
        internal("trigger", trigger.Trigger, trigger.decide_trigger),
        internal("job_ended", JobEnded, commands.decide_ended),
        internal("cancel_job", CancelJob, commands.decide_cancel),
    ],
)
