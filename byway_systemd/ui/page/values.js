// Texts of several values: where each one stands, what is wrong with it, what others made of it.

const KEY = /^(?:traffic\.)?(force_vpn|force_direct)\.(\w+)(?:\[(\d+)\])?$/;
const QUOTED = /'([^']*)'|"([^"]*)"/;

/**
 * Find the values of a text: one a line, or several with commas or semicolons between them.
 * @param {string} text
 * @returns {Array<{value: string, start: number, end: number}>}
 */
export function locateValues(text) {
  return [...text.matchAll(/[^,;\n\r]+/g)]
    .map((match) => {
      const value = match[0].trim();
      const start = match.index + match[0].length - match[0].trimStart().length;
      return { value, start, end: start + value.length };
    })
    .filter(({ value }) => value);
}

/**
 * @param {string} text
 * @returns {string[]}
 */
export function splitValues(text) {
  return locateValues(text).map(({ value }) => value);
}

/**
 * Add values that a text has not yet, each in a line of its own.
 * @param {string} text
 * @param {string[]} added
 * @returns {string}
 */
export function addValues(text, added) {
  const there = new Set(splitValues(text));
  const fresh = [...new Set(added)].filter((value) => !there.has(value));
  const end = text && !/[\n,;]\s*$/.test(text) ? "\n" : "";
  return fresh.length ? text + end + fresh.join("\n") : text;
}

/**
 * Put together what two have made of a list: theirs, with what I added and without what I removed.
 * @param {string[]} base what both began with
 * @param {string[]} mine
 * @param {string[]} theirs
 * @returns {string[]}
 */
export function mergeValues(base, mine, theirs) {
  const removed = new Set(base.filter((value) => !mine.includes(value)));
  const added = mine.filter((value) => !base.includes(value) && !theirs.includes(value));
  return [...theirs.filter((value) => !removed.has(value)), ...added];
}

/**
 * Tell which value of which field each problem is of.
 * @param {Array<{file: string, key: string, message: string, remedy: string}>} problems
 * @param {Object<string, string[]>} values what was sent, by field, such as `force_vpn.uids`
 * @returns {{fields: Object<string, Array>, others: Array}} problems with their value, by field;
 *   the value is empty where it is the whole field's
 */
export function placeProblems(problems, values) {
  const fields = {};
  const others = [];
  for (const problem of problems) {
    const match = KEY.exec(problem.key);
    const field = match && `${match[1]}.${match[2]}`;
    if (!field || !(field in values)) {
      others.push(problem);
      continue;
    }
    const value = findValue(problem, values[field], match[3]);
    (fields[field] ??= []).push({ value, message: problem.message, remedy: problem.remedy });
  }
  return { fields, others };
}

/** An index counts what was sent, but in a file's problem it counts what the file lists. */
function findValue(problem, sent, index) {
  if (index === undefined) {
    return "";
  }
  if (problem.file === "request") {
    return sent[index] ?? "";
  }
  const quoted = QUOTED.exec(problem.message);
  const value = quoted ? (quoted[1] ?? quoted[2]) : "";
  return sent.find((one) => one === value || one.split("/")[0] === value.split("/")[0]) ?? "";
}
