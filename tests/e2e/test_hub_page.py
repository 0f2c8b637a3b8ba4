"""The Control Hub page as a person meets it: in a real browser, through a real gateway, over a real daemon that is killed.

The first tests read the page's files; the others are left out, loudly, where there is no browser.
"""

import gzip
import json
import re
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path

import pytest

from tests.e2e.browser import Browser, for_readers, in_a_browser, kept_out, pictures, unharmed
from tests.e2e.harness import Irerd
from tests.e2e.hub_scene import INJECTED, VIEWS
from tests.e2e.web import Gateway

PAGE = Path(__file__).parents[2] / "irerctl" / "hub" / "page"
FIRST_LOAD_BYTES_MAX = 300_000
CONTRAST_MIN = 4.5
SVG_NAMESPACE = "http://www.w3.org/2000/svg"


def page_files() -> dict[str, str]:
    return {path.name: path.read_text() for path in sorted(PAGE.iterdir())}


# --- its files --------------------------------------------------------------------------------------------------------------


def test_nothing_turns_a_string_into_markup_or_code() -> None:
    """So no stored name can: text nodes and named attributes are all there is."""
    makers = re.compile(
        r"innerHTML|outerHTML|insertAdjacentHTML|document\.write|createContextualFragment|DOMParser|srcdoc|setHTML|"
        r"\beval\b|new Function|javascript:|set(?:Timeout|Interval)\(\s*[\"'`]"
    )
    found = {name: makers.findall(text) for name, text in page_files().items()}
    assert {name: each for name, each in found.items() if each} == {}


def test_the_page_needs_nothing_that_a_strict_policy_forbids() -> None:
    markup = page_files()["index.html"]
    assert not re.findall(r"<style\b|\bstyle=|\son[a-z]+=", markup)
    scripts = re.findall(r"<script\b([^>]*)>(.*?)</script>", markup, re.DOTALL)
    assert scripts and all("src=" in attributes and not inline for attributes, inline in scripts)


def test_nothing_is_fetched_from_elsewhere() -> None:
    elsewhere = {name: re.findall(r"(?:https?:)?//[\w.-]+\.[a-z]{2,}[^\s\"']*", text) for name, text in page_files().items()}
    assert {name: [each for each in found if each != SVG_NAMESPACE] for name, found in elsewhere.items() if found} == {
        "dom.js": [],
        "icon.svg": [],
    }


def test_the_first_load_is_small() -> None:
    assert sum(len(gzip.compress(path.read_bytes())) for path in PAGE.iterdir()) < FIRST_LOAD_BYTES_MAX


def test_every_place_that_the_code_names_is_in_the_page() -> None:
    """A place that is missing would throw only when that panel is drawn."""
    files = page_files()
    places = set(re.findall(r'\bid="([^"]+)"', files["index.html"]))
    named: set[str] = set()
    for name, text in files.items():
        if name.endswith(".js"):
            named |= set(
                re.findall(r'\b(?:at|say|show|redraw|panel|wish|whole|object|table|options|pairs|sent|entered)\("([a-z-]+)"', text)
            )
    assert len(named) > 100
    assert named - places == set()


def test_every_heading_of_a_column_stands_in_its_head() -> None:
    """A head that ends too soon makes a row of the rest: a browser mends it so, silently."""
    markup = page_files()["index.html"]
    assert "<th" not in re.sub(r"<thead><tr[^>]*>(?:\s*<th scope=\"col\"[^>]*>[^<]*</th>)*\s*</tr></thead>", "", markup)


def test_every_field_has_a_label_and_every_button_a_name() -> None:
    markup = page_files()["index.html"]
    for field in re.findall(r"<(?:input|select|textarea|progress)\b[^>]*\bid=\"([^\"]+)\"", markup):
        around = re.search(rf'<label\b[^>]*for="{field}"|<label\b[^>]*>(?:(?!</label>).)*id="{field}"', markup, re.DOTALL)
        assert around, field
    assert all(re.sub(r"<[^>]*>", "", name).strip() for name in re.findall(r"<button\b[^>]*>(.*?)</button>", markup))


@pytest.mark.parametrize("theme", ["light", "dark"])
def test_texts_stand_out_from_what_is_behind_them(theme: str) -> None:
    """WCAG 2: at least 4.5 to 1 for each pair of text and ground that the page uses."""
    blocks = re.findall(r":root[^{]*\{([^}]*)\}", page_files()["style.css"])
    colours = [dict(re.findall(r"--([a-z-]+): (#[0-9a-f]{3,6})", block)) for block in blocks]
    light, by_system, by_choice = colours
    assert by_system == by_choice
    named = {"light": light, "dark": by_choice}[theme]
    pairs = [("text", "ground"), ("text", "card"), ("soft", "card"), ("soft", "ground")]
    pairs += [("on-accent", "accent"), ("accent", "card")]
    pairs += [(word, f"{word}-ground") for word in ("ok", "warn", "bad")] + [("bad", "card"), ("warn", "card")]
    faint = [(text, ground) for text, ground in pairs if contrast(named[text], named[ground]) < CONTRAST_MIN]
    assert faint == []


def contrast(one: str, other: str) -> float:
    bright, dark = sorted((luminance(one), luminance(other)), reverse=True)
    return (bright + 0.05) / (dark + 0.05)


def luminance(colour: str) -> float:
    digits = colour[1:] if len(colour) == 7 else "".join(digit * 2 for digit in colour[1:])
    linear = [
        part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4
        for part in (int(digits[place : place + 2], 16) / 255 for place in (0, 2, 4))
    ]
    return sum(weight * part for weight, part in zip((0.2126, 0.7152, 0.0722), linear, strict=True))


# --- in a browser -----------------------------------------------------------------------------------------------------------

ENGINES = "#engine-lines tr"
VISIBILITY = (
    "Object.defineProperty(document, 'hidden', {{ value: {}, configurable: true }});"
    "document.dispatchEvent(new Event('visibilitychange'))"
)


@pytest.fixture(scope="module")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Browser]:
    opened = Browser(tmp_path_factory.mktemp("browser") / "stderr.log")
    try:
        yield opened
    finally:
        opened.close()


@pytest.fixture
def daemon(tmp_path: Path) -> Iterator[Irerd]:
    """One of the test's own, for what it does to it."""
    yield from started(tmp_path)


@pytest.fixture
def hub(daemon: Irerd) -> Iterator[str]:
    """The page's address, over that daemon."""
    yield from address(daemon)


@pytest.fixture(scope="module")
def shared_daemon(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Irerd]:
    yield from started(tmp_path_factory.mktemp("irerd"))


@pytest.fixture(scope="module")
def shared_hub(shared_daemon: Irerd) -> Iterator[str]:
    yield from address(shared_daemon)


def started(place: Path) -> Iterator[Irerd]:
    """A daemon whose pools keep their size, however slow the test is; one worker is enough."""
    irerd = Irerd(place, "pools.scale_hold_s = 3600.0\ncompute.workers = 1\n")
    try:
        yield irerd.start()
    finally:
        irerd.close()


def address(irerd: Irerd) -> Iterator[str]:
    gateway = Gateway(irerd.socket)
    try:
        yield f"http://127.0.0.1:{gateway.port}/"
    finally:
        gateway.close()


@in_a_browser
@pytest.mark.slow
def test_a_person_sees_what_is_and_changes_it_without_a_reload(shared_daemon: Irerd, shared_hub: str, browser: Browser) -> None:
    with shared_daemon.client() as client:
        client.call("entity.spawn", {"entity_id": "w-1", "type": "worker", "labels": {"site": INJECTED}})
        client.call("resource.submit_task", {"task_id": "javascript:alert", "units": 3, "duration_s": 3600})
        browser.open(shared_hub)
        browser.wait("#link", "connected")
        assert browser.text("#health") == "healthy"
        browser.wait(ENGINES, "resource")
        assert browser.count(ENGINES) == len(client.call("system.status").result["engines"])
        browser.evaluate("window.sameDocument = true")

        # What callers stored is text, whatever it looks like.
        browser.click("nav a[href='#engines']")
        browser.wait("#entities td", INJECTED)
        browser.wait("#tasks th", "javascript:alert")
        assert browser.count("main img") == 0

        # A write from the page is done, and seen in the page.
        browser.wait("#scale-pool option[value=storage]", state="attached")
        browser.do("choose", at="#scale-pool", value="storage")
        browser.fill("#scale-size", "7")
        browser.click("#scale-form button")
        browser.wait("#scale-answer", "storage: 4 → 7 units")
        browser.wait("#pools meter[aria-label='0 of 7 units of storage used']")
        browser.wait("#events tr", "pool.scaled", state="attached")

        # A refusal is told in irerd's own words, and changes nothing.
        browser.fill("#scale-size", "999")
        browser.click("#scale-form button")
        browser.wait("#scale-answer", "999 is outside 1..64")

        # What another caller does is seen without asking for it.
        client.call("cache.set_online", {"online": False})
        browser.wait("#queue dd", "offline")
        browser.wait("#online", "Go online")

        # A tab that nobody looks at holds no stream, and misses nothing.
        browser.evaluate(VISIBILITY.format("true"))
        client.call("entity.awaken", {"entity_id": "w-1"})
        browser.evaluate(VISIBILITY.format("false"))
        browser.click("nav a[href='#status']")
        browser.wait("#events tr", "entity.turned")
        assert sum(url.endswith("/events") for url in browser.heard()["requests"]) == 2
        sizes = {pool["name"]: pool["units"] for pool in client.call("resource.pools").result["pools"]}
    assert sizes["storage"] == 7
    assert browser.evaluate("window.sameDocument") is True
    heard = browser.heard()
    refused = [line for line in heard["console"] if "/rpc/resource.scale" in line]
    assert len(refused) == 1 and heard["console"] == refused


@in_a_browser
@pytest.mark.slow
def test_the_page_outlives_the_daemon(daemon: Irerd, hub: str, browser: Browser) -> None:
    browser.open(f"{hub}#engines")
    browser.wait("#link", "connected")
    browser.wait("#scale-pool option[value=compute]", state="attached")
    browser.evaluate("window.sameDocument = true")
    daemon.kill9()
    browser.wait("#link", "reconnecting")
    browser.wait("#link-note", "No answer since")

    # A wish of this time is not lost from sight, and pressed twice it is carried out once.
    browser.fill("#scale-size", "9")
    browser.click("#scale-form button")
    browser.wait("#scale-answer", "it is not done twice")

    daemon.start()
    browser.wait("#link", "connected, irerd was restarted")
    browser.wait("#link-note", "irerd was restarted at")
    browser.click("#scale-form button")
    browser.wait("#scale-answer", "compute: 4 → 9 units")
    browser.wait("#events tr", "pool.scaled", state="attached")
    assert browser.evaluate("window.sameDocument") is True
    unharmed(browser, hub, away=True)


@in_a_browser
@pytest.mark.slow
def test_a_wish_whose_answer_was_lost_is_done_once(shared_hub: str, browser: Browser) -> None:
    browser.open(f"{shared_hub}#engines")
    browser.wait("#scale-pool option[value=database]", state="attached")
    browser.evaluate("""(() => {
      const real = window.fetch;
      window.fetch = async (path, ...rest) => {
        const answer = await real(path, ...rest);
        if (!String(path).endsWith("/resource.scale")) return answer;
        window.fetch = real;
        throw new TypeError("lost on the way back");
      };
    })()""")
    browser.do("choose", at="#scale-pool", value="database")
    browser.fill("#scale-size", "9")
    browser.click("#scale-form button")
    browser.wait("#scale-answer", "it is not done twice")
    browser.wait("#pools meter[aria-label='0 of 9 units of database used']")
    # A second wish would be told that it has that size already; the same one is told again what it did.
    browser.click("#scale-form button")
    browser.wait("#scale-answer", "database: 4 → 9 units")
    unharmed(browser, shared_hub)


@in_a_browser
@pytest.mark.slow
def test_what_a_daemon_or_a_hub_does_not_give_is_told_in_words(shared_hub: str, browser: Browser) -> None:
    """As an irerd without a hunt, and a hub that wants a token, answer."""
    browser.open(f"{shared_hub}#hunt")
    browser.wait("#hunt-form")
    browser.evaluate("""(() => {
      const real = window.fetch;
      window.fetch = async (path, request, ...rest) => {
        const { Authorization: token, ...headers } = request.headers;
        if (token !== "Bearer good") return Response.json({ code: "unauthenticated", detail: "no token" }, { status: 401 });
        const answer = await real(path, { ...request, headers }, ...rest);
        if (!String(path).endsWith("/system.status")) return answer;
        const { engines: { hunt, ...engines }, ...status } = await answer.json();
        return Response.json({ ...status, engines });
      };
    })()""")
    browser.wait("#link", "token wanted")
    browser.fill("#token", "good")
    browser.click("#token-form button")
    browser.wait("#link", "connected")
    browser.wait("#token-form", state="hidden")
    browser.wait("#no-hunt", "has no hunt: its engines are resource, ")
    browser.wait("#hunt-parts", state="hidden")
    unharmed(browser, shared_hub)


SPACE = {"eps": {"low": 0.3, "high": 0.6}, "c3": {"low": -1.5, "high": 1.5}, "g_nl": {"low": 0.0, "high": 3.0}}
SETTINGS = {"grid": {"n": 32, "l": 40.0, "d": 2}, "steps": 300}
"""Small, and yet many of the runs have peaks."""
GENERATIONS, POPULATION = 5, 4
RUNS = GENERATIONS * POPULATION


def ask_for(browser: Browser, generations: int, space: str) -> None:
    browser.click("#hunt-form summary")
    browser.fill("#generations", str(generations))
    browser.fill("#population", str(POPULATION))
    browser.fill("#seed", "1")
    browser.fill("#settings", json.dumps(SETTINGS))
    browser.fill("#space", space)


@in_a_browser
@pytest.mark.slow
@pytest.mark.skipif(find_spec("jax") is None, reason="NOT TESTED: a hunt from the page; the extra science is not installed")
def test_a_hunt_is_started_watched_and_ended_in_the_page_though_the_daemon_is_killed(
    daemon: Irerd, hub: str, browser: Browser
) -> None:
    browser.open(f"{hub}#hunt")
    browser.wait("#hunt-status", "Idle")
    browser.evaluate("window.sameDocument = true")
    ask_for(browser, GENERATIONS, '{"eps": ')
    browser.click("#start-hunt-btn")
    browser.wait("#hunt-answer", "Nothing was started")
    browser.fill("#space", json.dumps(SPACE))
    browser.click("#start-hunt-btn")
    browser.wait("#btn-text", "Hunt Running...")
    browser.wait("#status-event", "Analyzed")

    daemon.kill9()
    assert "hunt.completed" not in (daemon.state / "hunt_log.jsonl").read_text()
    browser.wait("#link", "reconnecting")
    daemon.start()
    browser.wait("#link", "connected, irerd was restarted")
    browser.wait("#hunt-status", f"Completed, {GENERATIONS} of {GENERATIONS} generations done")
    browser.wait("#hunt-success", f"{RUNS} of {RUNS} runs have an outcome")
    browser.wait("#fields canvas")
    browser.wait("#spectrum svg")

    with daemon.client() as client:
        best = client.call("hunt.best").result
        rows = client.call("hunt.ledger").result["rows"]
        paradox = client.call("hunt.paradox").result
    assert json.loads(browser.text("#provenance-box")) == json.loads(json.dumps(best))
    assert browser.text("#hunt-progress-text") == f"{RUNS} of {RUNS} runs"
    assert browser.count("#front circle") == sum(row["log_prime_sse"] is not None for row in rows) > 0
    assert browser.count("#front circle.best") == 1
    assert browser.count("#fields canvas[role=img]") == 3

    # What it is worth: against chance, over all runs, and by a certificate, which nobody has asked for.
    browser.wait("#chance dd")
    worth = dict(zip(browser.texts("#chance dt"), browser.texts("#chance dd"), strict=True))
    assert worth["Survives all of these"] == "no"
    browser.wait("#paradox svg")
    known = [pair[part]["rho"] is not None for pair in paradox["pairs"] for part in ("overall", "within")]
    assert browser.count("#paradox circle") == sum(known)
    assert browser.text("#certificate") == "not certified"
    assert kept_out(browser, "hunt-ended", pictures(daemon.place)) == {}
    # A page that is opened now shows the same, without what was typed into the other.
    assert browser.evaluate("window.sameDocument") is True
    unharmed(browser, hub, away=True)
    browser.open(f"{hub}#hunt")
    for place in ("#fields canvas", "#spectrum svg", "#paradox svg", "#chance dd"):
        browser.wait(place)
    for_readers(browser, pictures(daemon.place) / "hub.png")
    browser.evaluate("window.sameDocument = true")

    # The table holds every run, and any column sorts it both ways.
    assert browser.count("#ledger tr") == RUNS
    for order, direction in ((1, "ascending"), (-1, "descending")):
        browser.click("#ledger-head button:text-is('seed')")
        browser.wait(f"#ledger-head th[aria-sort={direction}]", "seed")
        place = browser.texts("#ledger-head th").index("seed")
        shown = [int(text.split("\t")[place]) for text in browser.texts("#ledger tr")]
        assert shown == sorted((row["seed"] for row in rows), reverse=order < 0)

    # A second one is stopped from the page, and can go on. What got no answer meanwhile is asked again, though nothing changes.
    browser.evaluate("""(() => {
      window.realFetch = window.fetch;
      window.fetch = async (path, ...rest) => {
        if (String(path).endsWith("/hunt.ledger")) throw new TypeError("lost on the way");
        return window.realFetch(path, ...rest);
      };
    })()""")
    ask_for(browser, 500, json.dumps(SPACE))
    browser.click("#start-hunt-btn")
    browser.wait("#hunt-progress-text", "of 2,000 runs")
    browser.wait("#status-event", "Analyzed")
    browser.click("#stop-hunt-btn")
    browser.wait("#hunt-status", "Stopped, ")
    browser.wait("#resume-hunt-btn")
    with daemon.client() as client:
        newest = client.call("hunt.ledger").result["rows"][0]["job_uuid"]
    browser.evaluate("(() => { window.fetch = window.realFetch; })()")
    browser.wait(f"#ledger code[title='{newest}']")
    assert browser.evaluate("window.sameDocument") is True
    unharmed(browser, hub, away=True)


@in_a_browser
@pytest.mark.slow
def test_an_audit_tells_what_holds_what_does_not_and_what_nobody_checked(daemon: Irerd, hub: str, browser: Browser) -> None:
    with daemon.client() as client:
        for number in range(20):
            client.call("entity.spawn", {"entity_id": f"w-{number}", "type": "worker"})
        logs = {log["log"]: log["records"] for log in client.call("system.status").result["logs"]}
    browser.open(f"{hub}#audit")
    browser.wait("#link", "connected")
    browser.click("#verify-btn")
    browser.wait("#verify-result", "What was read holds")
    rows = [text.split("\t") for text in browser.texts("#verdicts tr")]
    assert {row[0]: (row[1], int(row[2])) for row in rows} == {log: ("ok", records) for log, records in logs.items()}
    assert any("replay (not asked for)" in line for line in browser.texts("#unverified li"))

    # A byte changed under a daemon that runs is found, named, and told from what is whole.
    log = daemon.state / "entities.jsonl"
    damaged = log.read_bytes().replace(b"w-11", b"w-77", 1)
    log.write_bytes(damaged)
    browser.click("#verify-btn")
    browser.wait("#verify-result", "Damage was found")
    verdicts = {row[0]: row[1] for row in (text.split("\t") for text in browser.texts("#verdicts tr"))}
    assert verdicts.pop("entities").startswith("failed")
    assert set(verdicts.values()) == {"ok"}
    browser.click("nav a[href='#status']")
    browser.wait("#logs tr", "FAILED")
    unharmed(browser, hub)


@in_a_browser
@pytest.mark.slow
def test_the_keyboard_reaches_everything_and_a_phone_shows_it(shared_hub: str, browser: Browser) -> None:
    browser.open(shared_hub, width=375)
    browser.wait(ENGINES, "resource")
    for view in VIEWS:
        browser.click(f"nav a[href='#{view}']")
        browser.wait(f"#view-{view}")
        assert browser.count("main > section:visible") == 1
        wider = browser.evaluate("document.documentElement.scrollWidth - document.documentElement.clientWidth")
        assert wider == 0, f"{view} is {wider} px wider than a phone"
    browser.evaluate("document.activeElement.blur()")
    reached = []
    for _ in range(15):
        browser.do("press", key="Tab")
        reached.append(browser.evaluate("document.activeElement.id || document.activeElement.textContent.trim()"))
        if reached[-1] == "verify-btn":
            break
    assert reached[-1] == "verify-btn"
    browser.do("press", key="Enter")
    browser.wait("#verify-result", "What was read holds")
    unharmed(browser, shared_hub)


@in_a_browser
@pytest.mark.slow
def test_colours_follow_the_system_until_a_person_chooses(shared_hub: str, browser: Browser) -> None:
    ground = "getComputedStyle(document.body).backgroundColor"
    browser.open(shared_hub, scheme="dark")
    dark = browser.evaluate(ground)
    browser.click("#theme")
    assert browser.text("#theme") == "Theme: light"
    light = browser.evaluate(ground)
    assert dark != light
    browser.evaluate("location.reload()")
    browser.wait("#theme", "Theme: light")
    assert browser.evaluate(ground) == light
    unharmed(browser, shared_hub)
