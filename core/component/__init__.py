"""The component engine: analyses that look at runs of the field, asked for by hand or begun by the hunt whose runs they are.

Each is described by a manifest and held to it. What one finds never changes the run it looked at.
"""

from core.component import commands, reads, trigger
from core.component.commands import RunBegun
from core.component.events import ComponentAccepted, ComponentFinished, ComponentStarted
from core.component.model import Components, apply_accepted, apply_finished, apply_started, dump, jobs, load, outputs_of
from core.engine import CancelJob, Engine, JobEnded, Nothing, internal, task, write

__all__ = ["ENGINE", "Components", "outputs_of"]

ENGINE = Engine(
    "component",
    log="hunt_log",
    state=Components,
    wanted=trigger.wanted,
    follows=("hunt",),
    checks=trigger.checks,
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
        task(
            "list",
            Nothing,
            help="The components there are",
            example={},
            result=reads.Listing,
            needs="component:read",
            cli="component ls",
        ),
        task(
            "describe",
            reads.DescribeComponent,
            result=reads.Described,
            needs="component:read",
            help="A component's manifest: what it takes, gives and lets be tuned",
            example={"name": "null-profile"},
            cli="component show NAME",
        ),
        task(
            "accept",
            commands.AcceptComponent,
            help="Let a component of your own run, just as it is now",
            example={"name": "ring-radius", "digest": "0" * 64},
            result=ComponentAccepted,
            needs="component:write",
            cli="component accept NAME",
        ),
        internal("adopt", commands.Adopt, commands.decide_adopt, apply={ComponentAccepted: apply_accepted}),
        internal("trigger", trigger.Trigger, trigger.decide_trigger),
        internal("job_ended", JobEnded, commands.decide_ended),
        internal("cancel_job", CancelJob, commands.decide_cancel),
    ],
)
