"""Rules of the configuration: every complaint has its line, every value its origin, every change its key."""

import tomllib
from pathlib import Path

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from core.access import recognise
from core.settings import LIVE, Access, CustomRole, Settings
from irerd.config import ConfigError, diff, dotted, effective, load, reloaded, resolve_members
from irerd.places import places


@pytest.fixture
def loading(tmp_path):
    def load_text(text: str, **more):
        path = tmp_path / "irerd.toml"
        path.write_bytes(text.encode() if isinstance(text, str) else text)
        return load(path, **more)

    return load_text


@pytest.fixture
def refused(loading, tmp_path):
    """The problems of a text, without the folder."""

    def problems(text, **more) -> list[str]:
        with pytest.raises(ConfigError) as caught:
            loading(text, **more)
        assert str(caught.value) == "\n".join(caught.value.problems)
        return [line.replace(f"{tmp_path}/", "") for line in caught.value.problems]

    return problems


def test_nothing_said_is_all_defaults():
    loaded = load()
    assert loaded.settings == Settings()
    assert set(loaded.origins.values()) == {"default"}


def test_an_empty_file_is_all_defaults(loading):
    assert loading("").settings == Settings()


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        (
            "\n\n[pools.compute]\ncieling = 3\n",
            "irerd.toml:4: unknown key pools.compute.cieling. Did you mean pools.compute.ceiling?",
        ),
        ("pools.compute.cieling = 3", "irerd.toml:1: unknown key pools.compute.cieling. Did you mean pools.compute.ceiling?"),
        (
            "[pools]\ncompute = { floor = 1,\tcieling = 3 }",
            "irerd.toml:2: unknown key pools.compute.cieling. Did you mean pools.compute.ceiling?",
        ),
        ("[pool]\n[pool.compute]\nfloor = 1", "irerd.toml:1: unknown key pool. Did you mean pools?"),
        ("\nceiling = 3", "irerd.toml:2: unknown key ceiling. Did you mean pools.compute.ceiling?"),
        ("[debug]\nverbose = true", "irerd.toml:2: unknown key debug.verbose. Known here: step_ms_max"),
        ('[debug]\n"a b" = true', 'irerd.toml:2: unknown key debug."a b". Known here: step_ms_max'),
        ("[pools.compute]\nfloor = '4'", 'irerd.toml:2: pools.compute.floor: expected int, got "4"'),
        ("[pools.compute]\nfloor = 4.0", "irerd.toml:2: pools.compute.floor: expected int, got 4.0"),
        ("[pools.compute]\nfloor = true", "irerd.toml:2: pools.compute.floor: expected int, got true"),
        ("[pools.compute]\nfloor = 0", "irerd.toml:2: pools.compute.floor: expected int >= 1, got 0"),
        ("[pools]\nscale_up_above = nan", "irerd.toml:2: pools.scale_up_above: expected a finite number, got nan"),
        ("[debug]\nstep_ms_max = inf", "irerd.toml:2: debug.step_ms_max: expected a finite number, got inf"),
        ("[pools]\ncompute = 3", "irerd.toml:2: pools.compute: expected a table, got 3"),
        ("[[pools]]\n", "irerd.toml:1: pools: expected a table, got an array"),
        ("[access]\nadmin = 'uid:1'", 'irerd.toml:2: access.admin: expected an array, got "uid:1"'),
        (
            "[access]\nadmin = [\n  'uid:1',\n  7,\n]",
            "irerd.toml:4: access.admin[1]: expected uid:, gid:, user: or group: with a number or a name, "
            'such as "group:irer" or "uid:1001", got 7',
        ),
        ("[logging]\nlevel = 'loud'", 'irerd.toml:2: logging.level: expected one of debug, info, warning, error, got "loud"'),
        (
            "[logging]\nlevel = 1979-05-27",
            "irerd.toml:2: logging.level: expected one of debug, info, warning, error, got 1979-05-27",
        ),
        ("config_version = 2\nnew_key = 1", "irerd.toml:1: config_version 2 is of a newer irer; this one reads 1"),
        ("config_version = 0", "irerd.toml:1: config_version: expected int >= 1, got 0"),
    ],
)
def test_a_complaint_names_the_line_and_what_to_write(refused, text, complaint):
    assert refused(text) == [complaint]


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("a = 1\nb = = 2\n", "irerd.toml:2: not TOML: invalid value at column 5"),
        ("a = 1\n\na = 2\n", "irerd.toml:3: not TOML: cannot overwrite a value at column 6"),
        ("a = '''x\n\n", "irerd.toml:3: not TOML: expected \"'''\" at the end of the file"),
        (b"a = 1\nb = '\xff'\n", "irerd.toml:2: not UTF-8 text"),
        ("a = " + "[" * 3000 + "]" * 3000, "irerd.toml: nested too deeply"),
        ("#" * 1_048_577, "irerd.toml: larger than 1048576 bytes; this is no configuration file"),
    ],
)
def test_a_file_that_cannot_be_read_says_where(refused, monkeypatch, text, complaint):
    (said,) = refused(text)
    assert said.partition(" at column")[0] == complaint.partition(" at column")[0]


def test_a_missing_file_is_named():
    with pytest.raises(ConfigError, match=r"/no/such/irerd\.toml: cannot be read \(No such file or directory\)"):
        load(Path("/no/such/irerd.toml"))


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        (
            "[pools.compute]\nfloor = 9\nceiling = 3",
            "irerd.toml:3: pools.compute.floor is 9 and must not be above pools.compute.ceiling, 3",
        ),
        ("[pools.compute]\nfloor = 99", "irerd.toml:2: pools.compute.floor is 99 and must not be above pools.compute.ceiling, 64"),
        (
            "[pools]\nscale_down_below = 0.9",
            "irerd.toml:2: pools.scale_down_below is 0.9 and must stay below pools.scale_up_above, 0.8",
        ),
        ("[retry]\nbase_s = 100", "irerd.toml:2: retry.base_s is 100.0 and must not be above retry.cap_s, 60.0"),
        ("[jobs.roots]\ndocs = 'srv/docs'", 'irerd.toml:2: jobs.roots.docs: expected an absolute path, got "srv/docs"'),
        ("[access]\nadmin = ['uid:ann']", "irerd.toml:2: access.admin[0]: uid: takes a number; a name is written user:ann"),
        (
            "[access]\nadmin = ['gid:4294967295']",
            "irerd.toml:2: access.admin[0]: gid: takes a number; a name is written group:4294967295",
        ),
        (
            '[access]\nadmin = ["uid:1\\n"]',
            "irerd.toml:2: access.admin[0]: expected uid:, gid:, user: or group: with a number or a name, "
            'such as "group:irer" or "uid:1001", got "uid:1\\n"',
        ),
        (
            "[access.roles.'Night Shift']",
            "irerd.toml:1: role Night Shift: expected a name of your own, a-z first, not viewer, operator, admin, engine",
        ),
        (
            "[access.roles.admin]\nmembers = ['uid:7']",
            "irerd.toml:1: role admin: expected a name of your own, a-z first, not viewer, operator, admin, engine",
        ),
        ("[access.deny]\n'uid:x' = []", 'irerd.toml:2: access.deny."uid:x": uid: takes a number; a name is written user:x'),
        (
            "[access]\ndeny = { 'everyone' = [] }",
            "irerd.toml:2: access.deny.everyone: expected uid:, gid:, user: or group: with a number "
            'or a name, such as "group:irer" or "uid:1001", got "everyone"',
        ),
        (
            "[jobs.roots]\n'../x' = '/x'",
            'irerd.toml:2: jobs.roots."../x": expected a name: 1 to 64 of letters, digits, _ and -, got "../x"',
        ),
    ],
)
def test_what_two_keys_say_together_is_judged_too(refused, text, complaint):
    assert refused(text) == [complaint]


def test_all_problems_are_told_at_once(refused):
    text = "[pools.compute]\nfloor = 0\ncieling = 3\n[retry]\nattempts = 'x'\n"
    assert [line.partition(": ")[0] for line in refused(text)] == ["irerd.toml:2", "irerd.toml:3", "irerd.toml:5"]


def test_a_rule_about_a_method_that_does_not_exist_is_refused(refused, loading):
    text = "[access]\ndeny = { 'uid:1' = ['resource.sclae'] }\n[access.roles.sensor]\nallow = [\n'system.ping', 'zzz']\n"
    methods = ["resource.scale", "system.ping"]
    assert refused(text, methods=methods) == [
        "irerd.toml:5: access.roles.sensor.allow[1]: unknown method zzz. All: irerctl api ls",
        'irerd.toml:2: access.deny."uid:1"[0]: unknown method resource.sclae. Did you mean resource.scale? All: irerctl api ls',
    ]
    assert loading(text).settings.access.deny == {"uid:1": ["resource.sclae"]}, "nobody knows the methods: nobody refuses"


def test_whole_numbers_serve_where_fractions_may_stand(loading):
    retry = loading("[retry]\nbase_s = 2\n").settings.retry
    assert (retry.base_s, type(retry.base_s)) == (2.0, float)


def test_flags_win_over_the_file_and_each_value_names_its_origin(loading, tmp_path):
    loaded = loading("[pools.compute]\nfloor = 2\nceiling = 9\n", overrides={"pools.compute.ceiling": 7, "access.admin": ["uid:5"]})
    file = tmp_path / "irerd.toml"
    assert loaded.settings.pools.compute == msgspec.structs.replace(Settings().pools.compute, floor=2, ceiling=7)
    assert {key: origin for key, origin in loaded.origins.items() if origin != "default"} == {
        "pools.compute.floor": f"{file}:2",
        "pools.compute.ceiling": "flag",
        "access.admin": "flag",
    }


def test_a_wrong_flag_is_named_as_one():
    with pytest.raises(ConfigError) as caught:
        load(None, {"pools.compute.cieling": 7, "retry.attempts": 0})
    assert caught.value.problems == [
        "flag: unknown key pools.compute.cieling. Did you mean pools.compute.ceiling?",
        "flag: retry.attempts: expected int >= 1, got 0",
    ]


MEMBERS = st.sampled_from(["uid:1", "gid:20", "user:ann", "group:irer"])
METHODS = st.lists(st.sampled_from(["system.ping", "resource.scale"]), max_size=2)
ACCESS = st.builds(
    Access,
    viewer=st.lists(MEMBERS, max_size=3),
    admin=st.lists(MEMBERS, max_size=2),
    roles=st.dictionaries(st.sampled_from(["sensor", "meter"]), st.builds(CustomRole, st.lists(MEMBERS, max_size=2), METHODS)),
    deny=st.dictionaries(MEMBERS, METHODS),
)


@st.composite
def usable_settings(draw) -> Settings:
    base = Settings()
    pool = msgspec.structs.replace(base.pools.compute, floor=draw(st.integers(1, 9)), ceiling=draw(st.integers(9, 999_999)))
    retry = msgspec.structs.replace(base.retry, cap_s=draw(st.floats(1, 31_536_000)))
    roots = {
        name: f"/srv/{draw(st.text(st.characters(codec='utf-8'), max_size=5))}" for name in draw(st.sets(st.sampled_from("abc")))
    }
    return msgspec.structs.replace(
        base,
        access=draw(ACCESS),
        pools=msgspec.structs.replace(base.pools, compute=pool),
        retry=retry,
        jobs=msgspec.structs.replace(base.jobs, roots=roots),
    )


@given(chosen=usable_settings())
@settings(max_examples=60, deadline=None)
def test_what_check_config_prints_reads_back_to_the_same_settings(chosen, tmp_path_factory):
    path = tmp_path_factory.mktemp("config") / "irerd.toml"
    path.write_text(msgspec_toml(chosen))
    once = load(path)
    assert once.settings == chosen
    path.write_text(effective(once))
    again = load(path)
    assert again.settings == chosen
    assert all(f":{number}" in line for number, line in enumerate(effective(again).splitlines(), 1)), "each line names itself"


def msgspec_toml(chosen: Settings) -> str:
    """A plain writer, unlike the one under test: one inline value for each section."""

    def inline(value) -> str:
        if isinstance(value, dict):
            return "{" + ", ".join(f"{inline(key)} = {inline(inner)}" for key, inner in value.items()) + "}"
        if isinstance(value, list):
            return "[" + ", ".join(map(inline, value)) + "]"
        if isinstance(value, str):
            return '"' + "".join(f"\\U{ord(letter):08x}" for letter in value) + '"'
        return str(value).lower() if isinstance(value, bool) else repr(value)

    return "".join(f"{key} = {inline(value)}\n" for key, value in msgspec.to_builtins(chosen).items())


# --- where keys stand

KEYS = st.sampled_from(["a", "b", "c-d", '"x.y"', "'q = #'", '"\\u00e9\\"]"', "1"])
SCALARS = st.sampled_from(
    [
        "1",
        "-2.5e3",
        "true",
        '"te#xt ]},="',
        "'lit\"eral'",
        '"""two\n"lines" \\""""""',
        "'''a\n'''''",
        "1979-05-27 07:32:00",
        "inf",
        '""',
    ]
)
GAP = st.sampled_from(["", " ", "\n", " # , ] } = [\n  "])


@st.composite
def inline_table(draw, value) -> str:
    keys = draw(st.lists(KEYS, unique=True, max_size=3))
    return "{ " + ", ".join(f"{key} = {draw(value)}" for key in keys) + " }"


@st.composite
def array(draw, value) -> str:
    items = [draw(GAP) + draw(value) + draw(GAP) for _ in range(draw(st.integers(0, 3)))]
    return "[" + ",".join(items) + (draw(st.sampled_from(["", ","])) if items else "") + draw(GAP) + "]"


VALUES = st.recursive(SCALARS, lambda inner: st.one_of(array(inner), inline_table(inner)), max_leaves=6)


@st.composite
def documents(draw) -> str:
    """TOML texts of every shape; some are not valid as a whole, and only the valid ones are looked at."""
    parts = []
    for _ in range(draw(st.integers(1, 4))):
        path = ".".join(draw(st.lists(KEYS, min_size=1, max_size=3)))
        parts.append(draw(st.sampled_from([f"[{path}]", f"[[{path}]]", f"[ {path} ] # {path} = 1", "# nothing", ""])))
        for _ in range(draw(st.integers(0, 2))):
            parts.append(f"{'.'.join(draw(st.lists(KEYS, min_size=1, max_size=2)))} = {draw(VALUES)}")
    return "\n".join(parts)


def paths_of(value, path=()):
    """Every path of a parsed document, and the whole numbers at the ends of some of them."""
    inner = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for step, item in inner:
        yield (*path, step)
        yield from paths_of(item, (*path, step))


@given(text=documents())
@settings(max_examples=250, deadline=None)
def test_every_key_that_the_reader_finds_has_a_place_and_no_other(text):
    try:
        data = tomllib.loads(text)
    except tomllib.TOMLDecodeError:
        return
    found = places(text)
    assert set(found) == set(paths_of(data))
    last = text.count("\n") + 1
    assert all(1 <= line <= last for line in found.values())


def test_places_are_the_lines_a_person_would_point_at():
    text = """\
a.b = 1

[t.u]   # = [
k = [
  1, 2,
  { x = '''
''', y = 3 },
]
[[list]]
n = 1
[[list]]
n = 2
[list.sub]
m = "]"
"""
    expected = (
        "a:1 a.b:1 t:3 t.u:3 t.u.k:4 t.u.k[0]:5 t.u.k[1]:5 t.u.k[2]:6 t.u.k[2].x:6 t.u.k[2].y:7 list:9 list[0]:9 list[0].n:10"
    )
    expected += " list[1]:11 list[1].n:12 list[1].sub:13 list[1].sub.m:14"
    assert " ".join(f"{dotted(place)}:{line}" for place, line in places(text).items()) == expected


def test_a_file_with_windows_line_ends_is_read_and_counted_the_same(refused):
    assert refused("[debug]\r\n\r\nverbose = 1\r\n")[0].startswith("irerd.toml:3: unknown key debug.verbose")


# --- reload


@given(old=usable_settings(), new=usable_settings())
@settings(max_examples=60, deadline=None)
def test_every_key_of_a_reload_is_in_exactly_one_list(old, new):
    changes = diff(old, new)
    listed = [*changes["applied"], *changes["unchanged"], *changes["needs_restart"]]
    assert len(listed) == len(set(listed))
    assert (changes["applied"] + changes["needs_restart"] == []) == (old == new or access_differs_only_in_emptiness(old, new))
    assert {key.partition(".")[0] for key in changes["applied"]} <= LIVE
    assert not {key.partition(".")[0] for key in changes["needs_restart"]} & LIVE


def access_differs_only_in_emptiness(old: Settings, new: Settings) -> bool:
    return not (set(diff(old, new)["applied"]) - {"access.roles", "access.deny", "jobs.roots"})


def test_a_reload_tells_what_changed_came_and_went(loading):
    old = loading("[access.roles.sensor]\nmembers = ['uid:7']\n[pools.compute]\nceiling = 9\n").settings
    new = loading("[access.deny]\n'uid:1' = ['hunt.start']\n[pools.compute]\nceiling = 10\n").settings
    assert diff(old, new)["applied"] == [
        'access.deny."uid:1"',
        "pools.compute.ceiling",
        "access.roles.sensor.members",
        "access.roles.sensor.allow",
    ]
    assert diff(old, new)["needs_restart"] == []
    assert "config_version" in diff(old, new)["unchanged"]


def test_a_key_that_is_not_live_waits_for_a_restart(monkeypatch):
    monkeypatch.setattr("irerd.config.LIVE", LIVE - {"limits"})
    old, new = Settings(), load(None, {"limits.calls": 3, "retry.attempts": 2}).settings
    changes = diff(old, new)
    assert (changes["applied"], changes["needs_restart"]) == (["retry.attempts"], ["limits.calls"])
    running = reloaded(old, new)
    assert (running.limits.calls, running.retry.attempts) == (64, 2)


# --- names


def numbers_of(table):
    def look_up(name: str) -> int:
        return table[name]

    return look_up


def test_names_become_numbers_and_unknown_names_admit_nobody():
    access = Access(
        viewer=["user:ann", "uid:7"],
        operator=["group:irer", "user:ghost"],
        admin=["gid:0"],
        roles={"sensor": CustomRole(["user:ann", "group:nobody-made-it"], ["system.ping"])},
        deny={"user:ann": ["hunt.start"], "group:irer": ["system.reload"], "user:gone": ["x.y"]},
    )
    rules, warnings = resolve_members(access, numbers_of({"ann": 1000}), numbers_of({"irer": 300}))
    assert rules.roles_of_uid == {1000: {"viewer", "sensor"}, 7: {"viewer"}}
    assert rules.roles_of_gid == {300: {"operator"}, 0: {"admin"}}
    assert rules.methods_of_role == {"sensor": {"system.ping"}}
    assert rules.denied_to_uid == {1000: {"hunt.start"}}
    assert rules.denied_to_gid == {300: {"system.reload"}}
    assert [line.partition("; ")[0] for line in warnings] == [
        "access.operator[1]: user:ghost does not exist here",
        "access.roles.sensor.members[1]: group:nobody-made-it does not exist here",
        'access.deny."user:gone": user:gone does not exist here',
    ]
    assert "nothing is denied by it" in warnings[2] and "nobody is admitted by it" in warnings[0]


def test_the_machines_own_users_and_groups_are_found():
    rules, warnings = resolve_members(Access(admin=["user:root"], viewer=["group:root"]))
    assert (rules.roles_of_uid, rules.roles_of_gid, warnings) == ({0: {"admin"}}, {0: {"viewer"}}, [])


def test_the_judge_knows_who_the_file_names(loading):
    rules, _ = resolve_members(loading("[access]\noperator = ['uid:1001']\n").settings.access)
    assert recognise(rules, 1001, 50, [], own_uid=999).role == "operator"
    assert recognise(rules, 1002, 50, [], own_uid=999).role == "none"
