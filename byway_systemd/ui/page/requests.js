// What is asked of byway, and what it answers, in one shape.

/** Seconds that a change waits to be kept before it is taken back. */
export const CONFIRM_SECONDS = 60;

/**
 * @typedef {Object} Reply
 * @property {boolean} ok
 * @property {number} status 0 when there was no answer
 * @property {string} etag
 * @property {*} body
 * @property {Object} problem detail, key, remedy and problems; null when it was done
 */

/**
 * Wrap a transport.
 * @param {Object} transport as transport.js has it
 * @param {function(string): void} onSilence called with the reason when byway does not answer
 * @returns {{get: function(string): Promise<Reply>,
 *   send: function(string, string, Object): Promise<Reply>}}
 */
export function createRequests(transport, onSilence) {
  async function ask(method, path, options) {
    try {
      return present(await transport.request(method, path, options));
    } catch (error) {
      onSilence(error.message);
      const silence = problem(error.message, "it is tried again by itself");
      return { ok: false, status: 0, etag: "", body: null, problem: silence };
    }
  }
  return {
    get: (path) => ask("GET", path, {}),
    send: (method, path, { body, etag, dryRun, confirm } = {}) =>
      ask(method, withTerms(path, dryRun, confirm), { body, etag: etag || undefined }),
  };
}

function present({ status, etag, body }) {
  const ok = status >= 200 && status < 300;
  return { ok, status, etag: etag ?? "", body, problem: ok ? null : problemOf(status, body) };
}

function problemOf(status, body) {
  if (body && typeof body === "object" && body.detail) {
    return { key: "", remedy: "", problems: [], ...body };
  }
  return problem(`byway answered ${status}`, "journalctl -u byway says more");
}

function problem(detail, remedy) {
  return { detail, remedy, key: "", problems: [] };
}

function withTerms(path, dryRun, confirm) {
  const terms = [dryRun && "dry_run=1", confirm && `confirm=${confirm}`].filter(Boolean);
  if (!terms.length) {
    return path;
  }
  return path + (path.includes("?") ? "&" : "?") + terms.join("&");
}
