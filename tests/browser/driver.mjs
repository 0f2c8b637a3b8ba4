// A browser that does what a test says: one JSON command a line on standard input, one JSON answer a line on standard output.
// It decides nothing and waits only for what it is told to wait for; it ends with its standard input, so none is left behind.
// Usage: node driver.mjs /usr/bin/chromium

import { readFile } from "node:fs/promises";
import { createRequire } from "node:module";
import { createInterface } from "node:readline";
import { chromium } from "playwright-core";

const PATIENCE_MS = 240_000;
const ARGUMENTS = [
  // Tests may run as root, where Chromium's sandbox cannot; the pages are our own. The rest keeps it off the network.
  "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking",
  "--disable-component-update", "--disable-sync",
];

const axe = readFile(createRequire(import.meta.url).resolve("axe-core/axe.min.js"), "utf8");

/** What axe finds in the page, runs in the page. */
const judge = async (within) => {
  const { violations } = await globalThis.axe.run(within ?? globalThis.document, { resultTypes: ["violations"] });
  return violations.map(({ id, impact, nodes }) => ({ id, impact, nodes: nodes.map(({ html, failureSummary }) => `${html.slice(0, 160)}: ${failureSummary}`) }));
};

const browser = await chromium.launch({ executablePath: process.argv[2], args: ARGUMENTS });
let page;
let heard;

const verbs = {
  async open({ url, scheme = "light", width = 1280, height = 900 }) {
    await page?.context().close();
    heard = { console: [], thrown: [], requests: [], dialogs: [] };
    const context = await browser.newContext({ colorScheme: scheme, viewport: { width, height } });
    page = await context.newPage();
    page.setDefaultTimeout(PATIENCE_MS);
    page.on("console", (said) => said.type() === "error" && heard.console.push(`${said.text()} ${said.location().url}`));
    page.on("pageerror", (error) => heard.thrown.push(String(error)));
    page.on("request", (request) => heard.requests.push(request.url()));
    page.on("dialog", (dialog) => (heard.dialogs.push(dialog.message()), dialog.dismiss()));
    await page.goto(url);
  },
  heard: async () => heard,
  click: ({ at }) => page.locator(at).click(),
  fill: ({ at, text }) => page.locator(at).fill(text),
  choose: ({ at, value }) => page.locator(at).selectOption(value),
  press: ({ key }) => page.keyboard.press(key),
  wait: ({ at, text, state = "visible" }) => page.locator(at, text === undefined ? {} : { hasText: text }).first().waitFor({ state }),
  text: ({ at }) => page.locator(at).first().innerText(),
  texts: ({ at }) => page.locator(at).allInnerTexts(),
  count: ({ at }) => page.locator(at).count(),
  evaluate: ({ code }) => page.evaluate(code),
  scheme: ({ scheme }) => page.emulateMedia({ colorScheme: scheme }),
  size: ({ width, height = 900 }) => page.setViewportSize({ width, height }),
  axe: async ({ within }) => {
    if (!(await page.evaluate("typeof axe === 'object'"))) await page.evaluate(await axe);
    return page.evaluate(judge, within);
  },
  screenshot: ({ path, whole = true }) => page.screenshot({ path, fullPage: whole }),
};

for await (const line of createInterface({ input: process.stdin })) {
  const { verb, ...rest } = JSON.parse(line);
  let answer;
  try {
    answer = { value: (await verbs[verb](rest)) ?? null };
  } catch (error) {
    answer = { error: String(error.message ?? error) };
  }
  process.stdout.write(`${JSON.stringify(answer)}\n`);
}
await browser.close();
