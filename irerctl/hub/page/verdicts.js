/** What a verification run from this page said about each log, in a few words: the audit view writes it, the status view shows it. */

/** @type {Map<string, string>} */
export const verdicts = new Map();
