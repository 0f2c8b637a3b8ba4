"""Every configuration key, with its default, its meaning and whether a reload applies it.

One frozen struct, built from one TOML file by `irerd/config.py` and never changed. A section's docstring has one
`key: meaning` line for each of its keys; `LIVE` names the keys a reload applies, all others need a restart.
"""

from typing import Annotated, Any

import msgspec
from msgspec import Meta

from core.fields import Frozen, words

Units = Annotated[int, Meta(ge=1, le=1_000_000)]
Count = Annotated[int, Meta(ge=1, le=1_000_000_000)]
Seconds = Annotated[float, Meta(gt=0, le=31_536_000)]
Ratio = Annotated[float, Meta(ge=0, le=1)]
Member = Annotated[
    str,
    Meta(pattern=r"^(uid|gid|user|group):[A-Za-z0-9_.-]+\Z"),
    words('uid:, gid:, user: or group: with a number or a name, such as "group:irer" or "uid:1001"'),
]
RootName = Annotated[str, Meta(pattern=r"^[A-Za-z0-9_-]{1,64}\Z"), words("a name: 1 to 64 of letters, digits, _ and -")]

RemoteUrl = Annotated[
    str,
    Meta(max_length=120, pattern=r"^(https?://([A-Za-z0-9._-]+|\[[0-9A-Fa-f:.]+\])(:[0-9]{1,5})?(/[A-Za-z0-9._~-]+)*/?)?\Z"),
    words("a URL: http:// or https://, a host, then a port and a path if need be; a user stands in username, never in the URL"),
]
DatabaseName = Annotated[
    str,
    Meta(max_length=64, pattern=r"^[A-Za-z][A-Za-z0-9_$()+/-]{0,63}\Z"),
    words("the name of a database as CouchDB has it: a small letter, then small letters, digits and signs such as _ - and +"),
]


class Section(msgspec.Struct, metaclass=Frozen, frozen=True, forbid_unknown_fields=True):
    pass


class CustomRole(Section):
    """A role of your own: exact methods, no wildcards.

    members: who has it, as uid:, gid:, user: or group: names
    allow: the exact methods they may call
    """

    members: list[Member] = []
    allow: list[str] = []


class Access(Section):
    """Who may do what. Root and the daemon's own uid are always admin; nobody else is anything. `deny` wins over all of it.

    engine: who may only prove an engine's key and ask on its behalf
    viewer: who may read everything
    operator: who may also write
    admin: who may also administer: configuration, registry, backup, reload
    roles: roles of your own
    deny: methods refused to a member, whatever else allows them, also to root and the daemon's own uid
    """

    engine: list[Member] = []
    viewer: list[Member] = []
    operator: list[Member] = []
    admin: list[Member] = []
    roles: dict[str, CustomRole] = {}
    deny: dict[Member, list[str]] = {}


class Pool(Section):
    """Bounds of one resource pool.

    floor: fewest units; scaling down stops here
    ceiling: most units; scaling up stops here, and a task that needs more is refused
    """

    floor: Units = 1
    ceiling: Units = 64


class Pools(Section):
    """The four resource pools and how they scale.

    compute: bounds of the compute pool
    storage: bounds of the storage pool
    network: bounds of the network pool
    database: bounds of the database pool
    scale_up_above: utilisation that, held, grows a pool
    scale_down_below: utilisation that, held, shrinks a pool
    scale_hold_s: how long utilisation must stay beyond a threshold
    scale_cooldown_s: quiet time after a change of size
    """

    compute: Pool = Pool()
    storage: Pool = Pool()
    network: Pool = Pool()
    database: Pool = Pool()
    scale_up_above: Ratio = 0.8
    scale_down_below: Ratio = 0.3
    scale_hold_s: Seconds = 5.0
    scale_cooldown_s: Seconds = 10.0

    def bounds(self, pool: str) -> Pool:
        found = getattr(self, pool)
        assert isinstance(found, Pool)
        return found


class Retry(Section):
    """How a failed task is tried again: exponential backoff with full jitter, then parked.

    attempts: how often a task is tried in all
    base_s: upper bound of the first wait; it doubles with each attempt
    cap_s: upper bound of any wait
    """

    attempts: Annotated[int, Meta(ge=1, le=100)] = 5
    base_s: Seconds = 1.0
    cap_s: Seconds = 60.0


class Entities(Section):
    """How entities are watched, and put right when something is wrong with them.

    heartbeat_s: an awake entity that says nothing for so long needs correction
    unhealthy_below: health, of 100, below which an entity needs correction
    attempts: how often an entity is put right before it is sent to sleep
    base_s: time an entity has for its first correction; it doubles with each attempt
    cap_s: the longest time for one attempt
    """

    heartbeat_s: Seconds = 30.0
    unhealthy_below: Annotated[float, Meta(ge=0, le=100)] = 50.0
    attempts: Annotated[int, Meta(ge=1, le=100)] = 5
    base_s: Seconds = 2.0
    cap_s: Seconds = 300.0


class Circuit(Section):
    """The profit circuit.

    fulfilment_s: how long the fulfilment of an order holds a unit of pool `database`
    """

    fulfilment_s: Seconds = 1.0


class CacheRemote(Section):
    """The far end that the cache replicates with: any server of CouchDB's protocol. Only the file says it.

    url: of the server, such as https://couch.example.org; none: there is no far end
    database: its name; it must exist
    username: who irer is there; none: nobody
    password_file: absolute path of a file that only irerd's user may read, or the name of a systemd credential
    interval_s: time from the end of one sync to the next that begins by itself; 0: only when asked
    continuous: whether a sync begins by itself and stays: what changes on either side goes to the other as it comes
    documents: how many documents one step covers
    timeout_s: the longest one request may take
    attempts: how often one request is tried before the sync fails
    """

    url: RemoteUrl = ""
    database: DatabaseName = "irer"
    username: Annotated[
        str, Meta(max_length=128, pattern=r"^[^\u0000-\u001f:]*\Z"), words("a name without : or control characters")
    ] = ""
    password_file: Annotated[str, Meta(max_length=4_096)] = ""
    interval_s: Annotated[float, Meta(ge=0, le=31_536_000)] = 0.0
    continuous: bool = False
    documents: Annotated[int, Meta(ge=1, le=1_000)] = 500
    timeout_s: Annotated[float, Meta(ge=0.1, le=3_600)] = 60.0
    attempts: Annotated[int, Meta(ge=1, le=100)] = 6


class CacheSettings(Section):
    """What the cache may take up.

    memory_bytes: values kept in memory, those used last; the others are read from disk when they are asked for
    bytes_max: bytes of values and their keys; more is refused until some are deleted, and nothing is dropped
    remote: the far end
    """

    memory_bytes: Annotated[int, Meta(ge=0, le=1 << 40)] = 67_108_864
    bytes_max: Annotated[int, Meta(ge=65_536, le=1 << 50)] = 4_294_967_296
    remote: CacheRemote = CacheRemote()


class Data(Section):
    """What follows from the events that callers tell the data engine.

    model: what makes vectors of texts: hashed-256, or wordllama-256 (extra `embeddings`); another one makes all of them anew
    relevance: how near an older event must be to count as a prior: a cosine
    units: units of value that an event gives to those it cites
    settle_s: quiet time after an event's last citation; then its value is distributed
    threshold: strength at which a pattern rises
    hold_s: how long a pattern must stay above it to crystallise
    share: whether a crystallised pattern is shared by itself, through the cache and its far end
    events_max: events that can be found, cited and rated; beyond that the oldest are let go of, and stay in the log
    """

    model: Annotated[str, Meta(pattern=r"^(hashed-256|wordllama-256)\Z"), words("hashed-256 or wordllama-256")] = "hashed-256"
    relevance: Annotated[float, Meta(ge=0.01, le=1)] = 0.3
    units: Annotated[int, Meta(ge=1, le=1_000_000_000)] = 1_000
    settle_s: Annotated[float, Meta(ge=0.001, le=86_400)] = 1.0
    threshold: Annotated[float, Meta(ge=0.01, le=1e6)] = 3.0
    hold_s: Seconds = 604_800.0
    share: bool = False
    events_max: Annotated[int, Meta(ge=16, le=1_000_000)] = 100_000


class Jobs(Section):
    """Named jobs that tasks may run, each in a child process.

    roots: directories that `hash_tree` may read, by the name a caller gives
    parallel: how many child processes may run at once
    timeout_s: the longest a job may run when its task sets no deadline
    memory_bytes: address space a child may use
    """

    roots: dict[RootName, str] = {}
    parallel: Annotated[int, Meta(ge=1, le=64)] = 2
    timeout_s: Seconds = 3600.0
    memory_bytes: Annotated[int, Meta(ge=268_435_456)] = 2_147_483_648


Between = Annotated[list[float], Meta(min_length=2, max_length=2), words("a pair of numbers: the least value, and the greatest")]
Searched = Annotated[
    str,
    Meta(pattern=r"^(eps|lam|b3|c3|g_nl|sigma|a|r|kappa|eta|alpha|rho_vac|D_g|m2)\Z"),
    words("a list of names of this table, such as sigma"),
]


def _between(low: float, high: float) -> Any:
    return msgspec.field(default_factory=lambda: [low, high])


class HuntSpace(Section):
    """What a hunt searches when its caller names no space: of each parameter the least value and the greatest.

    eps: gain, and the size of the diffusion
    lam: strength of the local loss
    b3: real part of the local loss
    c3: imaginary part of the local loss
    g_nl: strength of the non-local loss
    sigma: reach of the non-local loss
    a: depth of the kernel's ring
    r: width of the kernel's ring
    kappa: weight of the current in the source of space
    eta: weight of the gradient in the source of space
    alpha: how much the density of space changes lengths
    rho_vac: density of empty space
    D_g: diffusion of the density of space
    m2: how fast the density of space returns, the mass squared
    log: those of which the ratio matters: they are searched on a logarithmic scale
    """

    eps: Between = _between(0.3, 1.5)
    lam: Between = _between(0.5, 2.0)
    b3: Between = _between(0.5, 1.5)
    c3: Between = _between(-1.5, 1.5)
    g_nl: Between = _between(-0.3, 3.0)
    sigma: Between = _between(0.5, 8.0)
    a: Between = _between(0.0, 0.9)
    r: Between = _between(0.3, 0.8)
    kappa: Between = _between(0.1, 1.0)
    eta: Between = _between(0.1, 1.0)
    alpha: Between = _between(-1.0, 1.0)
    rho_vac: Between = _between(0.5, 2.0)
    D_g: Between = _between(0.5, 2.0)
    m2: Between = _between(0.3, 2.0)
    log: list[Searched] = msgspec.field(default_factory=lambda: "eps lam sigma kappa eta rho_vac D_g m2".split())


class Hunt(Section):
    """What a hunt is when its caller says nothing else. One that runs stays as it began.

    at_once: hunts that may run at one time
    num_generations: how many generations
    population_size: candidates in each
    n: points a side of the grid
    l: length of a side
    d: dimensions
    steps: steps of one run
    dt: time of one step; 0 takes for each run the one that its parameters suggest
    dealias: which modes are kept: half, two_thirds, sixth or none
    dtype: complex64 or complex128
    snapshots: taken in the last quarter of a run
    targets: how many primes the score aims at
    tau: how slowly the density of space follows; never searched
    lam5: quintic loss
    lanes: runs in one call of a worker
    parallel: such calls at one time
    seeds: so often each candidate is run, from as many initial fields, and the medians count: 1, 3, 5, 7 or 9
    space: what is searched
    """

    at_once: Annotated[int, Meta(ge=1, le=16)] = 1
    num_generations: Annotated[int, Meta(ge=1, le=10_000)] = 10
    population_size: Annotated[int, Meta(ge=1, le=200)] = 10
    n: Annotated[int, Meta(ge=8, le=4_096)] = 64
    l: Annotated[float, Meta(gt=0, le=1e6)] = 40.0  # noqa: E741 (its name in the model)
    d: Annotated[int, Meta(ge=1, le=2)] = 2
    steps: Annotated[int, Meta(ge=1, le=10_000_000)] = 2_000
    dt: Annotated[float, Meta(ge=0, le=10)] = 0.0
    dealias: Annotated[str, Meta(pattern=r"^(half|two_thirds|sixth|none)\Z"), words("one of half, two_thirds, sixth and none")] = (
        "half"
    )
    dtype: Annotated[str, Meta(pattern=r"^(complex64|complex128)\Z"), words("one of complex64 and complex128")] = "complex64"
    snapshots: Annotated[int, Meta(ge=1, le=64)] = 8
    targets: Annotated[int, Meta(ge=5, le=32)] = 5
    tau: Annotated[float, Meta(gt=0, le=1e6)] = 1.0
    lam5: Annotated[float, Meta(ge=0, le=1e3)] = 0.0
    lanes: Annotated[int, Meta(ge=1, le=48)] = 5
    parallel: Annotated[int, Meta(ge=1, le=64)] = 4
    seeds: Annotated[int, Meta(ge=1, le=9)] = 1
    space: HuntSpace = HuntSpace()


ComponentName = Annotated[
    str,
    Meta(min_length=1, max_length=80, pattern=r"^[!-~]([ -~]*[!-~])?\Z"),
    words("the name of a component: bssn-check, null-profile, tda-profile, or one of your own that was accepted"),
]


class Component(Section):
    """Analyses that run by themselves. A hunt never waits for them.

    triggered: components that look at each job of a hunt, once it is done
    winners: components that look at the best run of a hunt so far, each time a generation is done
    directory: where components of your own stand, a folder each; none unless it is set
    unconfined: whether one may run where the kernel cannot keep it from other files, processes and the network
    files_bytes_max: what those of your own leave in component_files/ may take in all; what was left longest ago goes first
    """

    triggered: list[ComponentName] = msgspec.field(default_factory=lambda: ["bssn-check"])
    winners: list[ComponentName] = msgspec.field(default_factory=lambda: ["null-profile"])
    directory: Annotated[str, Meta(max_length=1_000, pattern=r"^(|/.*)\Z"), words("a path from / on, or nothing")] = ""
    unconfined: bool = False
    files_bytes_max: Annotated[int, Meta(ge=1 << 20, le=1 << 50)] = 1 << 30


class Compute(Section):
    """The worker processes that compute fields. They are started when the first job needs them.

    workers: how many may run at once; 0: one for each core that irerd may use
    memory_bytes: what a worker's data may take while a job runs; fields get what 768 MiB for the libraries leave
    retire_bytes: a worker that holds more than this after a job is replaced
    retire_jobs: jobs after which a worker is replaced
    timeout_s: the longest that one job may compute; a hunt's batch of runs is one job
    silent_s: a worker that computes and tells no progress for so long is taken for hung, and replaced
    backend: local, workers on this machine; or dask, where the scheduler below leads (needs the extra dask)
    scheduler: of Dask, as tcp://HOST:PORT or tls://HOST:PORT
    tls_ca_file: absolute path of the certificates that a tls:// scheduler is judged by
    tls_cert_file: absolute path of the certificate that irerd shows it
    tls_key_file: absolute path of the key to that
    """

    workers: Annotated[int, Meta(ge=0, le=1_024)] = 0
    memory_bytes: Annotated[int, Meta(ge=1_073_741_824, le=1 << 44)] = 4_294_967_296
    retire_bytes: Annotated[int, Meta(ge=268_435_456, le=1 << 44)] = 2_147_483_648
    retire_jobs: Annotated[int, Meta(ge=1, le=1_000_000)] = 200
    timeout_s: Seconds = 86_400.0
    silent_s: Seconds = 1_800.0
    backend: Annotated[str, Meta(pattern=r"^(local|dask)\Z"), words("one of local and dask")] = "local"
    scheduler: Annotated[
        str,
        Meta(max_length=300, pattern=r"^((tcp|tls)://[A-Za-z0-9._\[\]:-]+:[0-9]{1,5})?\Z"),
        words("the address of a scheduler, as tcp://HOST:PORT or tls://HOST:PORT"),
    ] = ""
    tls_ca_file: Annotated[str, Meta(max_length=4_096)] = ""
    tls_cert_file: Annotated[str, Meta(max_length=4_096)] = ""
    tls_key_file: Annotated[str, Meta(max_length=4_096)] = ""


Amount = Annotated[float, Meta(ge=0, le=1e9)]
PlaceName = Annotated[
    str,
    Meta(max_length=64, pattern=r"^([A-Za-z0-9][A-Za-z0-9._:@/-]*)?\Z"),
    words("a name: letters, digits and . _ : @ / -, a letter or digit first, at most 64 characters; or nothing"),
]
MetricName = Annotated[
    str, Meta(min_length=1, max_length=64, pattern=r"^[A-Za-z0-9][A-Za-z0-9._:@/-]*\Z"), words("a metric's name")
]
MetricUnit = Annotated[
    str,
    Meta(pattern=r"^(W|kW|°C|K|°F|%|ratio|B/s|1)\Z"),
    words("a unit: W, kW, °C, K, °F, %, ratio, B/s, or 1 for a bare number"),
]
CurrencyCode = Annotated[str, Meta(pattern=r"^[A-Z]{3}\Z"), words('a currency of three capital letters, such as "EUR"')]


class EilSource(Section):
    """What is known of one source that no sensor says.

    idle_w: its power when it idles, in W; 0: not known
    max_w: its power under full load, in W; 0: not known
    power_w: its power at 0, 10 … 100 % of use, in W: eleven figures, or none
    surroundings_k: temperature around it, in K; 0: not known, unless a metric says it
    warming_k_s: how fast its temperature can change at most, in K per second; 0: not known
    place: where it stands, for the energy map
    feeds: sources that get their power from it
    cools: sources whose heat it takes away
    """

    idle_w: Amount = 0.0
    max_w: Amount = 0.0
    power_w: Annotated[list[Amount], Meta(max_length=11)] = []
    surroundings_k: Annotated[float, Meta(ge=0, le=10_000)] = 0.0
    warming_k_s: Amount = 0.0
    place: PlaceName = ""
    feeds: Annotated[list[MetricName], Meta(max_length=64)] = []
    cools: Annotated[list[MetricName], Meta(max_length=64)] = []


class EilMarket(Section):
    """What prices are made of, in the currency, and what a proof may earn.

    currency: in which all prices are
    ceu_base: price of one CEU before demand and energy
    pft_base: price of one PFT that is surely right
    munt_base: price of one MUNT before what it is worth
    energy_price: price of a kWh now
    energy_reference: price of a kWh at which the base prices hold
    opening_balance: what a caller's first trade also brings it, once
    mint: PFT for a predictor that gains all there is to gain over the naive ones
    mint_daily: the most PFT that the proofs about one source mint in a day
    """

    currency: CurrencyCode = "EUR"
    ceu_base: Amount = 0.01
    pft_base: Amount = 1.0
    munt_base: Amount = 100.0
    energy_price: Annotated[float, Meta(ge=0, le=1e6)] = 0.3
    energy_reference: Annotated[float, Meta(gt=0, le=1e6)] = 0.3
    opening_balance: Amount = 100.0
    mint: Annotated[float, Meta(ge=0, le=1e6)] = 20.0
    mint_daily: Annotated[float, Meta(ge=0, le=1e6)] = 100.0


class EilBudget(Section):
    """The energy that one caller's energy intelligence may take; what it takes is metered either way.

    joules: what a caller may save up, in J; 0: nothing is ever refused
    refill_w: how fast it fills up again, in W
    """

    joules: Annotated[float, Meta(ge=0, le=1e12)] = 0.0
    refill_w: Annotated[float, Meta(gt=0, le=1e9)] = 5.0


class Eil(Section):
    """Energy intelligence: streams of telemetry, predictions and decisions.

    horizon_s: how far ahead a prediction and a decision look
    streams_max: metrics of all sources that are followed at one time
    unserved_j: what a second of one server's work is worth that is not done, in J
    metric_units: units of metrics whose names do not say them
    sources: what is known of single sources
    market: what prices are made of
    budget: the energy that one caller may take
    """

    horizon_s: Annotated[float, Meta(ge=1, le=604_800)] = 300.0
    streams_max: Annotated[int, Meta(ge=1, le=1_000_000)] = 100_000
    unserved_j: Annotated[float, Meta(ge=0, le=1e9)] = 2_000.0
    metric_units: dict[MetricName, MetricUnit] = {}
    sources: dict[MetricName, EilSource] = {}
    market: EilMarket = EilMarket()
    budget: EilBudget = EilBudget()


class Control(Section):
    """Bounds on engines, and on who speaks to the HTTP gateway from elsewhere.

    events_per_s: reports of its own work that one engine may send in a second
    http_token_s_max: the longest life of a new token for the HTTP gateway, in seconds
    """

    events_per_s: Annotated[int, Meta(ge=1, le=100_000)] = 100
    http_token_s_max: Annotated[int, Meta(ge=1, le=31_536_000)] = 2_592_000


class Limits(Section):
    """Bounds on callers. They are sent in every welcome.

    connections: open connections in all
    connections_per_uid: open connections of one uid
    calls: calls in flight on one connection
    streams: streams open on one connection
    waiting: commands that may wait for one log
    """

    connections: Annotated[int, Meta(ge=1, le=65_536)] = 512
    connections_per_uid: Annotated[int, Meta(ge=1, le=65_536)] = 64
    calls: Annotated[int, Meta(ge=1, le=65_536)] = 64
    streams: Annotated[int, Meta(ge=1, le=65_536)] = 64
    waiting: Annotated[int, Meta(ge=1, le=65_536)] = 4096


class Log(Section):
    """How much history is kept, and how quickly a start reads it.

    snapshot_records: records of a log after which a snapshot is taken; a start replays what came after the newest
    retain_days: age at which closed segments are let go; 0 keeps everything, and what an idempotency key may be answered from stays
    retain_bytes: bytes of closed segments kept of each log; 0 keeps everything
    """

    snapshot_records: Count = 50_000
    retain_days: Annotated[float, Meta(ge=0, le=36_500)] = 0.0
    retain_bytes: Annotated[int, Meta(ge=0)] = 0


class TrustedWitness(Section):
    """One that keeps watch over the logs with a key of its own.

    vkey: its verifier key, as `irer-witness key` prints it
    socket: where it answers, an absolute path; none: checkpoints are carried to it by hand, with irerctl audit witness
    """

    vkey: Annotated[str, Meta(max_length=512)] = ""
    socket: Annotated[str, Meta(max_length=107)] = ""


class Witness(Section):
    """Who else keeps watch that no log ever goes backwards. Only the file says it.

    quorum: how many of them must have cosigned a record before it counts as witnessed; 0: all of them
    trusted: the witnesses, by names of yours
    """

    quorum: Annotated[int, Meta(ge=0, le=64)] = 0
    trusted: dict[RootName, TrustedWitness] = {}


class Logging(Section):
    """What irerd says on stderr.

    level: least severity that is written
    """

    level: Annotated[str, Meta(pattern=r"^(debug|info|warning|error)\Z"), words("one of debug, info, warning, error")] = "info"


class Debug(Section):
    """For people who look for a fault.

    step_ms_max: name the task that holds the event loop longer than this, in ms; 0 is off
    """

    step_ms_max: Annotated[float, Meta(ge=0)] = 0.0


class Settings(Section):
    """Everything that can be configured.

    config_version: version of this file's format; 1
    access: who may do what
    pools: the resource pools
    retry: how failed tasks are tried again
    entities: how entities are watched and put right
    circuit: the profit circuit
    jobs: named jobs
    component: analyses that run by themselves
    compute: the worker processes that compute fields
    control: bounds on engines and on tokens of the HTTP gateway
    eil: energy intelligence
    cache: what the cache may take up
    data: what follows from events
    hunt: what a hunt is when its caller says nothing else
    limits: bounds on callers
    log: how much history is kept
    witness: who else keeps watch over the logs
    logging: what is said on stderr
    debug: for people who look for a fault
    """

    config_version: Annotated[int, Meta(ge=1, le=1)] = 1
    access: Access = Access()
    pools: Pools = Pools()
    retry: Retry = Retry()
    entities: Entities = Entities()
    circuit: Circuit = Circuit()
    jobs: Jobs = Jobs()
    component: Component = Component()
    compute: Compute = Compute()
    control: Control = Control()
    eil: Eil = Eil()
    cache: CacheSettings = CacheSettings()
    data: Data = Data()
    hunt: Hunt = Hunt()
    limits: Limits = Limits()
    log: Log = Log()
    witness: Witness = Witness()
    logging: Logging = Logging()
    debug: Debug = Debug()


LIVE = frozenset(
    {
        "access",
        "pools",
        "retry",
        "entities",
        "circuit",
        "jobs",
        "component",
        "control",
        "eil",
        "cache",
        "data",
        "hunt",
        "limits",
        "log",
        "witness",
        "logging",
        "debug",
    }
)
"""Sections whose keys `irerctl reload` applies at once."""
