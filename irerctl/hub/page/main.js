/** Puts the page together: which view is shown, its colours, and the one loop that keeps it up to date. */

import { at, say, show } from "./dom.js";
import { followEvents, keepUp, nudge } from "./link.js";
import { takeToken } from "./token.js";
import * as audit from "./audit.js";
import * as data from "./data.js";
import * as energy from "./energy.js";
import * as engines from "./engines.js";
import * as hunt from "./hunt.js";
import * as status from "./status.js";

const VIEWS = { status, hunt, engines, energy, data, audit };
const THEMES = ["system", "light", "dark"];

function shown() {
  const name = location.hash.slice(1);
  return name in VIEWS ? name : "status";
}

function turn() {
  const name = shown();
  for (const each of Object.keys(VIEWS)) show(`view-${each}`, each === name);
  for (const link of document.querySelectorAll("nav a")) {
    if (link.hash === `#${name}`) link.setAttribute("aria-current", "page");
    else link.removeAttribute("aria-current");
  }
  document.title = `${name[0].toUpperCase()}${name.slice(1)} · irer Control Hub`;
  nudge();
}

function theme() {
  return document.documentElement.dataset.theme ?? "system";
}

function nextTheme() {
  const name = THEMES[(THEMES.indexOf(theme()) + 1) % THEMES.length];
  if (name === "system") delete document.documentElement.dataset.theme;
  else document.documentElement.dataset.theme = name;
  try {
    localStorage.setItem("irer-theme", name);
  } catch {
    // Storage is off: the choice lasts as long as the page.
  }
  say("theme", `Theme: ${name}`);
}

function main() {
  say("theme", `Theme: ${theme()}`);
  at("theme").addEventListener("click", nextTheme);
  at("token-form").addEventListener("submit", (asked) => {
    asked.preventDefault();
    takeToken(at("token").value);
    at("token").value = "";
    nudge();
  });
  for (const view of Object.values(VIEWS)) view.begin?.();
  window.addEventListener("hashchange", turn);
  turn();
  followEvents((event) => {
    status.event(event);
    energy.event(event);
  });
  keepUp(async (now) => {
    status.header(now);
    await VIEWS[shown()].refresh(now);
  });
}

main();
