/**
 * Calls of irerd's methods through the gateway that served this page, and of nothing else.
 * A call ends in one of three ways: an answer, a `Refused` (irerd or the gateway says no, and why), or a `NoAnswer`
 * (nobody there, or no time left). Only the last means that the connection is in doubt.
 */

import { authorization } from "./token.js";

export class Refused extends Error {
  /** @param {number} status @param {{code?: string, title?: string, detail?: string, effect?: string, fields?: {path: string, problem: string}[]}} problem */
  constructor(status, problem) {
    const fields = (problem.fields ?? []).map((field) => `${field.path}: ${field.problem}`);
    super([problem.detail ?? problem.title ?? `the gateway answered ${status}`, ...fields].join("; "));
    this.code = problem.code ?? String(status);
    this.effect = problem.effect ?? "none";
  }
}

export class NoAnswer extends Error {}

const PATIENCE_MS = 15_000;
const AWAY = new Set([502, 503, 504]);

/** Ask; nothing is changed by it. @param {string} method @param {object} params @returns {Promise<any>} */
export function ask(method, params = {}) {
  return post(method, params, {});
}

/**
 * Write. The key names this one wish, so that asking again after a lost answer never does it twice.
 * @param {string} method @param {object} params @param {string} key @returns {Promise<any>}
 */
export function write(method, params, key) {
  return post(method, params, { "Idempotency-Key": key });
}

/** A key for one wish. */
export function newKey() {
  return `hub-${[...crypto.getRandomValues(new Uint8Array(12))].map((byte) => byte.toString(16).padStart(2, "0")).join("")}`;
}

async function post(method, params, headers) {
  let response;
  try {
    response = await fetch(`/rpc/${method}`, {
      method: "POST",
      headers: { "Content-Type": "application/json", ...authorization(), ...headers },
      body: JSON.stringify(params),
      cache: "no-store",
      signal: AbortSignal.timeout(PATIENCE_MS),
    });
    return await answer(response);
  } catch (error) {
    if (error instanceof Refused || error instanceof NoAnswer) throw error;
    throw new NoAnswer(error?.name === "TimeoutError" ? "no answer in time" : "the hub itself does not answer");
  }
}

/** @param {Response} response */
export async function answer(response) {
  const text = await response.text();
  let body;
  try {
    body = text ? JSON.parse(text) : {};
  } catch {
    throw new Refused(response.status, { detail: `the gateway answered ${response.status} with what is no JSON` });
  }
  if (response.ok) return body;
  if (AWAY.has(response.status)) throw new NoAnswer(body.detail ?? body.title ?? `the hub answered ${response.status}`);
  throw new Refused(response.status, body);
}
