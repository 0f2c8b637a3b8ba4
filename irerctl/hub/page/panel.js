/** What every view does: ask and draw, or say in words why there is nothing; do what a button says, and say what came of it. */

import { NoAnswer, Refused, ask, newKey, write } from "./calls.js";
import { say, show } from "./dom.js";
import { nudge } from "./link.js";

/** Ask and draw. A refusal stands in the panel's note; no answer leaves what is shown, for the header says it already.
 * @param {string} note @param {string} method @param {object} params @param {(answer: any) => void} draw
 * @returns {Promise<boolean>} whether irerd said anything; where not, it is to be asked again */
export async function panel(note, method, params, draw) {
  try {
    const found = await ask(method, params);
    show(note, false);
    draw(found);
  } catch (error) {
    if (error instanceof NoAnswer) return false;
    if (!(error instanceof Refused)) throw error;
    say(note, error.message);
    show(note, true);
  }
  return true;
}

const asked = new Map();

/** Whether something that changes slowly is to be asked again.
 * @param {string} what @param {number} seconds */
export function due(what, seconds) {
  const now = Date.now();
  if (now - (asked.get(what) ?? 0) < seconds * 1_000) return false;
  asked.set(what, now);
  return true;
}

/** Ask it again at the next beat. @param {string} what */
export function soon(what) {
  asked.delete(what);
}

const wishes = new Map();

/**
 * Carry out a wish and say what came of it. Where no answer came, its key is kept: the same wish, asked again, is the same one.
 * @param {string} place of the answer @param {string} method @param {object} params @param {(result: any) => string} words
 */
export async function wish(place, method, params, words) {
  const what = JSON.stringify([method, params]);
  const key = wishes.get(what) ?? newKey();
  wishes.set(what, key);
  say(place, "asking irerd …");
  try {
    const result = await write(method, params, key);
    wishes.delete(what);
    say(place, words(result));
    nudge();
    return result;
  } catch (error) {
    if (error instanceof NoAnswer) say(place, `No answer (${error.message}). Press again once irerd is back: it is not done twice.`);
    else if (error instanceof Refused) {
      if (error.effect === "none") wishes.delete(what);
      say(place, error.message);
    } else throw error;
    return null;
  }
}
