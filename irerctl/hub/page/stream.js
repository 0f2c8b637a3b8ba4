/** Server-sent events read with fetch, so that a refusal can be read, a cursor sent, and a stream given up. */

import { NoAnswer, Refused, answer } from "./calls.js";
import { authorization } from "./token.js";

const BUFFER_MAX = 4_000_000;

/** @typedef {{id: string | null, event: string, data: string}} Item `event` is message, end, problem, mark, away or back */

/**
 * Every item of a stream until it ends. Ending it (`return`, `break`) hangs up.
 * @param {string} path @param {RequestInit} request @returns {AsyncGenerator<Item>}
 */
export async function* follow(path, request = {}) {
  const hangUp = new AbortController();
  const signal = request.signal ? AbortSignal.any([hangUp.signal, request.signal]) : hangUp.signal;
  try {
    let response;
    try {
      response = await fetch(path, { cache: "no-store", ...request, headers: { Accept: "text/event-stream", ...authorization(), ...request.headers }, signal });
      if (!response.ok) await answer(response);
      if (!(response.headers.get("Content-Type") ?? "").startsWith("text/event-stream")) {
        yield { id: null, event: "end", data: await response.text() };
        return;
      }
      yield* items(response.body);
    } catch (error) {
      if (error instanceof Refused || error instanceof NoAnswer || signal.aborted) throw error;
      throw new NoAnswer("the stream broke off");
    }
  } finally {
    hangUp.abort();
  }
}

/** @param {ReadableStream<Uint8Array>} body @returns {AsyncGenerator<Item>} */
async function* items(body) {
  const reader = body.pipeThrough(new TextDecoderStream()).getReader();
  let waiting = "";
  for (;;) {
    const { done, value } = await reader.read();
    if (done) return;
    waiting = (waiting + value).replaceAll("\r\n", "\n");
    if (waiting.length > BUFFER_MAX) throw new NoAnswer("an event longer than this page reads");
    for (let end = waiting.indexOf("\n\n"); end >= 0; end = waiting.indexOf("\n\n")) {
      const item = parsed(waiting.slice(0, end));
      waiting = waiting.slice(end + 2);
      if (item) yield item;
    }
  }
}

/** @param {string} block @returns {Item | null} null for what only keeps the line open */
function parsed(block) {
  const item = { id: null, event: "message", data: "" };
  const data = [];
  for (const line of block.split("\n")) {
    const colon = line.indexOf(":");
    if (colon <= 0) continue;
    const value = line.slice(colon + 1).replace(/^ /, "");
    const field = line.slice(0, colon);
    if (field === "data") data.push(value);
    else if (field === "id") item.id = value;
    else if (field === "event") item.event = value;
  }
  if (!data.length) return item.id === null ? null : { ...item, event: "mark" };
  return { ...item, data: data.join("\n") };
}
