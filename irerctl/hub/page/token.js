/** The token that a hub beyond loopback wants. It lives as long as the tab: in no cookie, so no other page can make use of it. */

const PLACE = "irer-token";

let token = "";
try {
  token = sessionStorage.getItem(PLACE) ?? "";
} catch {
  // Storage is off: the token lasts as long as the page.
}

/** The header that says who asks, if there is a token. @returns {Record<string, string>} */
export function authorization() {
  return token ? { Authorization: `Bearer ${token}` } : {};
}

/** @param {string} text */
export function takeToken(text) {
  token = text.trim();
  try {
    sessionStorage.setItem(PLACE, token);
  } catch {
    // As above.
  }
}
