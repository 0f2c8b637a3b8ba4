/**
 * Whether irerd is there. One loop asks it for its status and then lets the views ask for theirs; events only make it ask
 * sooner, so a page whose stream broke is late and never wrong. A daemon that went away is waited for, for ever, and the page
 * says so; one that came back as another process is called restarted.
 */

import { NoAnswer, Refused, ask } from "./calls.js";
import { at, say, show } from "./dom.js";
import { follow } from "./stream.js";
import { clock, duration } from "./words.js";

const BEAT_MS = 2_000;
const HIDDEN_BEAT_MS = 15_000;
const RETRY_MS = 1_000;
const SOONEST_MS = 300;
const NEWS_MS = 30_000;

let wake = () => {};
let nudged = false;
let instance = null;
let awaySince = null;
let restartedAt = null;
let cursor = null;

/** Ask again soon: something has changed. */
export function nudge() {
  nudged = true;
  wake();
}

/** Ask irerd for ever. @param {(status: any) => Promise<void>} refresh */
export async function keepUp(refresh) {
  document.addEventListener("visibilitychange", nudge);
  for (;;) {
    let beat = document.hidden ? HIDDEN_BEAT_MS : BEAT_MS;
    try {
      const status = await ask("system.status");
      answered(status);
      await refresh(status);
    } catch (error) {
      beat = RETRY_MS;
      if (error instanceof NoAnswer) lost(error.message);
      else if (error instanceof Refused) refused(error);
      else throw error;
    }
    await pause(SOONEST_MS);
    if (!nudged) await pause(beat - SOONEST_MS, true);
    nudged = false;
  }
}

/** @param {number} milliseconds @param {boolean} wakeable whether news cut it short */
function pause(milliseconds, wakeable = false) {
  return new Promise((done) => {
    const timer = setTimeout(done, milliseconds);
    wake = wakeable ? () => (clearTimeout(timer), done()) : () => {};
  });
}

function answered(status) {
  if (instance !== null && status.instance !== instance) restartedAt = Date.now();
  instance = status.instance;
  const away = awaySince === null ? "" : ` It was away for ${duration((Date.now() - awaySince) / 1000)}.`;
  if (restartedAt !== null && awaySince !== null) {
    say("link-note", `irerd was restarted at ${clock(restartedAt)}.${away} What this page shows is from the new process.`);
  }
  awaySince = null;
  const news = restartedAt !== null && Date.now() - restartedAt < NEWS_MS;
  show("link-note", news);
  show("token-form", false);
  if (status.state !== "ready") state("reconnecting", status.state);
  else if (news) state("restarted", "connected, irerd was restarted");
  else state("connected", "connected");
}

/** @param {Refused} error */
function refused(error) {
  const unknown = error.code === "unauthenticated";
  state("refused", unknown ? "token wanted" : "refused", `irerd does not say how it is: ${error.message}`);
  show("token-form", unknown);
}

function lost(why) {
  awaySince ??= Date.now();
  state("reconnecting", "reconnecting", `No answer since ${clock(awaySince)}: ${why}. What you see is from before; this page asks again every second.`);
}

/** @param {string} name @param {string} words @param {string} [note] */
function state(name, words, note) {
  document.body.dataset.link = name;
  at("link").dataset.health = { connected: "ok", restarted: "ok", refused: "failed" }[name] ?? "degraded";
  say("link", words);
  if (note) {
    say("link-note", note);
    show("link-note", true);
  }
}

/** Hand on every event that became durable, going on after a break where it stopped. @param {(event: any) => void} take */
export async function followEvents(take) {
  let hidden = new AbortController();
  document.addEventListener("visibilitychange", () => document.hidden && hidden.abort());
  for (;;) {
    await looked();
    hidden = new AbortController();
    try {
      await followOnce(take, hidden.signal);
    } catch (error) {
      if (!hidden.signal.aborted && !(error instanceof NoAnswer || error instanceof Refused)) throw error;
      // A cursor too old to go on from: begin now. What happened meanwhile is in what the views show.
      if (error instanceof Refused && error.code !== "unavailable") cursor = null;
    }
    nudge();
    await pauseStream();
  }
}

/** @param {(event: any) => void} take @param {AbortSignal} signal */
async function followOnce(take, signal) {
  const headers = cursor === null ? {} : { "Last-Event-ID": cursor };
  for await (const item of follow("/events", { headers, signal })) {
    if (item.id !== null) cursor = item.id;
    if (item.event === "message") take(JSON.parse(item.data));
    if (item.event !== "mark") nudge();
    if (item.event === "problem") throw new Refused(0, JSON.parse(item.data));
  }
}

function pauseStream() {
  return new Promise((done) => setTimeout(done, RETRY_MS));
}

/** Until somebody looks at this tab. A browser has six connections for a place: a tab that nobody sees holds none of them. */
async function looked() {
  while (document.hidden) await new Promise((done) => document.addEventListener("visibilitychange", done, { once: true }));
}
