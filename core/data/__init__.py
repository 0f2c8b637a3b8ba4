"""The data engine: events that callers tell, and what follows from them: embeddings, priors, citations, patterns, value.

Everything that is derived is an event of its own, with what it follows from; so the state is what the log says, and no more.
Texts stand in the log alone, vectors in the log and in a view beside it.
"""

from collections.abc import Iterator

from core.data import clusters, commands, events, model, reads, sharing, told
from core.data.model import LOG, Data, dump, load
from core.engine import Asked, CancelJob, Context, Effect, Engine, JobEnded, Nothing, Timer, internal, read, task, write

TEXTS = ("heat pumps move heat from a cold place", "a pump moves water", "nobody asks for this text any more")
"""What the examples are about. Ids follow from what events say, so examples can know them."""
SOME_EVENT, OLDER_EVENT, OLD_EVENT = (told.id_of(told.ContentCreated("content_created", text)) for text in TEXTS)
DEADLINE_MS = 60_000


def wanted(data: Data, ctx: Context) -> Iterator[Effect]:
    settings = ctx.settings.data
    yield from commands.errands(data, settings.model)
    if data.clock.boot:
        turn_us = data.book.next_us(settings.threshold, round(settings.hold_s * 1e6), data.clock.now(ctx))
        if turn_us is not None:
            yield Timer("evolve", data.clock.mono_us(turn_us, ctx), commands.Evolve())
        if (last := next(iter(data.unpaid.values()), None)) is not None:
            yield Timer("settle", data.clock.mono_us(last + round(settings.settle_s * 1e6), ctx), commands.Settle())
    if len(data.nodes) > settings.events_max:
        yield Timer("retire", 0, commands.Retire())
    yield from sharing.wanted(data, ctx)


ENGINE = Engine(
    "data",
    log=LOG,
    state=Data,
    wanted=wanted,
    follows=("cache",),
    dump=dump,
    load=load,
    jobs=sharing.jobs,
    oldest=Data.oldest,
    rows=[
        write(
            "emit",
            commands.Emit,
            commands.decide_emit,
            apply={kind: model.apply_told for kind in told.TOLD.values()},
            reply=commands.emitted,
            help="Tell that something happened",
            example={"family": "local", "type": "content_created", "data": {"text": TEXTS[0]}},
            cli="data emit FAMILY TYPE DATA",
        ),
        task(
            "events",
            reads.AskEvents,
            help="Events as they are recorded, the newest first",
            example={"family": "local"},
            result=reads.EventPage,
            cli="data events",
        ),
        task(
            "search",
            reads.SearchData,
            help="The events that are nearest to a text or a vector",
            example={"query": "heat pump", "k": 3},
            result=reads.Nearest,
            deadline_ms=DEADLINE_MS,
            cli="data search [QUERY]",
        ),
        task(
            "index",
            reads.AskIndex,
            help="The approximate index: what it covers, and its measured recall",
            example={},
            result=reads.IndexPage,
            cli="data index",
        ),
        write(
            "cite",
            commands.Cite,
            commands.decide_cite,
            apply={told.CitationTracked: model.apply_citation},
            help="Say that an event leans on an older one",
            example={"from": SOME_EVENT, "to": OLDER_EVENT},
            cli="data cite FROM TO",
        ),
        write(
            "feedback",
            commands.Rate,
            commands.decide_feedback,
            apply={told.FeedbackReceived: model.apply_feedback},
            help="Rate an event",
            example={"event": SOME_EVENT, "rating": 0.9},
            cli="data feedback EVENT RATING",
        ),
        write(
            "forget",
            commands.Forget,
            commands.decide_forget,
            apply={events.VectorForgotten: model.apply_forgotten},
            help="Let go of an event: it is not found any more, its record stays",
            example={"event": OLD_EVENT},
            cli="data forget EVENT",
        ),
        read("patterns", reads.AskPatterns, reads.patterns, help="Patterns, the strongest first", example={}, cli="data patterns"),
        task(
            "topology",
            reads.DataPage,
            help="The network of citations, and where each event stands in it",
            example={},
            result=reads.TopologyPage,
            deadline_ms=DEADLINE_MS,
            cli="data topology",
        ),
        task(
            "clusters",
            reads.DataPage,
            help="Clusters of texts that are near one another, the largest first",
            example={},
            result=clusters.ClusterPage,
            cli="data clusters",
        ),
        task(
            "field",
            clusters.AskField,
            help="How patterns would spread over the clusters",
            example={"days": 7},
            result=clusters.FieldPage,
            deadline_ms=DEADLINE_MS,
            cli="data field",
        ),
        task(
            "waves",
            clusters.AskWaves,
            help="Waves that run through the clusters, if chance does not explain them",
            example={"of": "events", "bins": 24},
            result=clusters.WavesPage,
            deadline_ms=DEADLINE_MS,
            cli="data waves",
        ),
        task(
            "overlap",
            clusters.AskOverlap,
            help="How much events have in common, over all clusters",
            example={"events": [SOME_EVENT, OLDER_EVENT]},
            result=clusters.OverlapPage,
            deadline_ms=DEADLINE_MS,
            cli="data overlap EVENTS",
        ),
        read("value", reads.DataPage, reads.value, help="Where value went", example={}, cli="data value"),
        write(
            "sync",
            Nothing,
            sharing.decide_sync,
            apply={
                events.SharingStarted: model.apply_sync_started,
                events.SharingFollows: model.apply_sync_follows,
                events.SharingEnded: model.apply_sync_ended,
                events.PatternAnchored: model.apply_anchored,
            },
            reply=sharing.begun,
            help="Share crystallised patterns: put them into the cache, and sync it",
            example={},
            cli="data sync",
        ),
        read("status", Nothing, reads.status, help="Events, vectors, patterns and value in one object", example={}),
        internal(
            "job_ended",
            JobEnded,
            commands.decide_ended,
            apply={
                told.EmbeddingGenerated: model.apply_embedding,
                events.VectorStored: model.apply_stored,
                events.ModelChosen: model.apply_model,
                events.NotEmbedded: model.apply_not_embedded,
                events.PriorsFound: model.apply_priors,
                events.PatternDetected: model.apply_detected,
                events.PatternMatched: model.apply_matched,
                events.TeamRecognized: model.apply_team,
                events.ClusterFormed: model.apply_cluster,
                events.ClustersUpdated: model.apply_clusters,
            },
        ),
        internal(
            "evolve",
            commands.Evolve,
            commands.decide_evolve,
            apply={events.ValueEvolved: model.apply_evolved, events.ValueCrystallized: model.apply_crystallized},
        ),
        internal(
            "settle",
            commands.Settle,
            commands.decide_settle,
            apply={
                events.ValueDistributed: model.apply_distributed,
                events.NetworkGrown: model.apply_grown,
                events.TopologyUpdated: model.apply_topology,
            },
        ),
        internal("retire", commands.Retire, commands.decide_retire),
        internal("asked", Asked, sharing.decide_asked),
        internal("begin_sync", sharing.BeginSync, sharing.decide_begin),
        internal("follow", sharing.Follow, sharing.decide_follow),
        internal("cancel_job", CancelJob, sharing.decide_cancel),
    ],
)
