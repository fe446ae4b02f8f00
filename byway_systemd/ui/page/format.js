// Numbers and kinds in words.

const UNITS = ["B", "kB", "MB", "GB", "TB", "PB"];

/** @type {Object<string, string>} what each mode does with what nothing else decides about */
export const MODES = {
  selective: "Only what is forced to the VPN uses it; the rest goes by the direct link.",
  full_tunnel: "Everything by the VPN, less what is direct; nowhere while the VPN is down.",
  direct: "Everything by the direct link, less what is forced to the VPN.",
  bypass: "As the VPN client has it, less what is direct. This is the default.",
};

/**
 * @param {number} count of bytes
 * @returns {string} such as `1.2 MB`
 */
export function formatBytes(count) {
  let unit = 0;
  let number = count;
  while (number >= 999.5 && unit < UNITS.length - 1) {
    number /= 1000;
    unit += 1;
  }
  return `${unit && number < 9.95 ? number.toFixed(1) : Math.round(number)} ${UNITS[unit]}`;
}

/**
 * @param {number} number
 * @param {string} one such as `warning`
 * @param {string} [many]
 * @returns {string} such as `2 warnings`
 */
export function formatCount(number, one, many = `${one}s`) {
  return `${number.toLocaleString("en")} ${number === 1 ? one : many}`;
}

/**
 * @param {number} time in milliseconds since 1970
 * @returns {string} such as `17:03:09`, of the day in the reader's zone
 */
export function formatTime(time) {
  return new Date(time).toLocaleTimeString("en-GB");
}

/**
 * @param {{detail: string, remedy: string, problems: ?Array}} problem
 * @returns {string} what is wrong, and what to do
 */
export function formatProblem(problem) {
  const all = problem.problems?.length
    ? problem.problems.map((one) => [place(one) + one.message, one.remedy])
    : [[problem.detail, problem.remedy]];
  return all.map(([text, remedy]) => (remedy ? `${text} (${remedy})` : text)).join("; ");
}

/** Where in which file; what is wrong with the request itself stands where it was typed. */
function place({ file, line, key }) {
  return file === "request" ? "" : `${file}:${line}: ${key}: `;
}
