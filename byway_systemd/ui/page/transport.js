/* The page's way to byway, and the only file that knows which one it is: Cockpit, whose bridge talks
 * to byway's socket, or `byway ui`, which served the page and passes requests on.
 *
 *   const transport = await connect();
 *   const {status, etag, body} = await transport.request("PATCH", "/api/v1/settings", {body: {...}, etag});
 *   const uri = await transport.image("/api/v1/icons/firefox");    // "" when there is none
 *   const stream = transport.events({onEvent, onDown, onUp});      // stream.close() ends it
 *   transport.onAccess((access) => ...);                           // "write" or "read"
 *   transport.onTheme((theme) => ...);                             // "dark" or "light"
 */

const SOCKET = "/run/byway/byway.sock";
const RETRY = 2000; // milliseconds between two attempts to listen
const SILENCE = 45000; // byway sends a comment every 15 s: this long without any, the stream is dead
const GROUP = "byway"; // who may change things without being root
/* /cockpit/@localhost/byway/..., /cockpit/$CHECKSUM/byway/..., /cockpit+APPLICATION/..., below any root. */
const IN_COCKPIT = /\/cockpit(\+[^/]+)?\/[@$][^/]+\//;
const MEMBERS = "use sudo, or become a member of the group byway and log in again";

/** byway does not answer; the message says why, and what to do. */
export class Unreachable extends Error {}

/** Return the transport for how this page was opened. */
export async function connect() {
  return IN_COCKPIT.test(window.location.pathname) ? connectCockpit() : new Loopback();
}

/** What both ways have in common; they differ in send() and listen(). */
class Transport {
  constructor() {
    this.accessHint = "";
    this._access = new Announced();
    this._theme = new Announced();
  }

  onAccess(callback) {
    this._access.tell(callback);
  }

  onTheme(callback) {
    this._theme.tell(callback);
  }

  /** Resolve to {status, etag, body} whatever the status; reject with Unreachable only. */
  async request(method, path, { body, etag } = {}) {
    const headers = {};
    if (etag) headers["If-Match"] = etag;
    if (body !== undefined) headers["Content-Type"] = "application/json";
    const text = body === undefined ? undefined : JSON.stringify(body);
    const answer = await this.send(method, path, headers, text);
    return { status: answer.status, etag: answer.etag, body: readBody(answer) };
  }

  /** Hear of what happens, as long as it takes: a stream that ends is begun again. */
  events({ onEvent, onDown, onUp }) {
    const stream = { closed: false, cut: null, timer: 0 };
    const go = async () => {
      const watch = new Watch(() => stream.cut?.());
      let reason;
      try {
        await this.listen(
          (cut) => {
            stream.cut = cut;
          },
          () => {
            watch.reset();
            if (!stream.closed) onUp?.();
          },
          readEvents(watch, (kind, value) => stream.closed || onEvent?.(kind, value)),
        );
        reason = "byway has ended the connection";
      } catch (error) {
        reason = error.message;
      }
      watch.stop();
      if (stream.closed) return;
      onDown?.(reason);
      stream.timer = window.setTimeout(go, RETRY);
    };
    go();
    return {
      close() {
        stream.closed = true;
        window.clearTimeout(stream.timer);
        stream.cut?.();
      },
    };
  }
}

/** By `byway ui`: the daemon decides by the person's own rights, which is seen when it refuses. */
class Loopback extends Transport {
  constructor() {
    super();
    this.accessHint = MEMBERS;
    this._access.set("write");
    followTheme(this._theme, () => "auto");
  }

  async send(method, path, headers, body) {
    const response = await this._fetch(path, { method, headers, body });
    const text = await readAll(response, (whole) => whole.text());
    const answer = {
      status: response.status,
      etag: response.headers.get("ETag") ?? "",
      kind: response.headers.get("Content-Type") ?? "",
      text,
    };
    if (!["GET", "HEAD"].includes(method)) this._learn(answer);
    return answer;
  }

  async image(path) {
    const response = await this._fetch(path, {});
    if (!response.ok) return "";
    const bytes = new Uint8Array(await readAll(response, (whole) => whole.arrayBuffer()));
    return toDataURI(response.headers.get("Content-Type"), bytes);
  }

  async listen(onCut, onUp, onPart) {
    const aborter = new AbortController();
    onCut(() => aborter.abort());
    const response = await this._fetch("/events", { signal: aborter.signal });
    if (!response.ok) throw new Unreachable(explain(await response.text()));
    onUp();
    const reader = response.body.pipeThrough(new TextDecoderStream()).getReader();
    for (let part = await reader.read(); !part.done; part = await reader.read()) onPart(part.value);
  }

  async _fetch(path, options) {
    let response;
    try {
      response = await fetch(path, {
        ...options,
        cache: "no-store",
        credentials: "same-origin",
        redirect: "error",
      });
    } catch {
      throw new Unreachable("byway ui has ended (start it again: byway ui)");
    }
    if (response.status === 401)
      throw new Unreachable(
        "this page was opened by a byway ui that has ended (start it again: byway ui)",
      );
    if ([502, 504].includes(response.status))
      // byway ui's own: the daemon sends neither
      throw new Unreachable(explain(await response.text()));
    return response;
  }

  /** A change that is let pass or refused says whether others would be. */
  _learn(answer) {
    if (answer.status === 403) {
      this.accessHint = readBody(answer)?.remedy || MEMBERS;
      this._access.set("read");
    } else if (answer.status < 300) {
      this._access.set("write");
    }
  }
}

/** By Cockpit: reads as the person, changes as root, or as the person when the group may change. */
class Cockpit extends Transport {
  constructor(cockpit, user) {
    super();
    this.accessHint = "turn on administrative access, at the top of the page";
    this._cockpit = cockpit;
    /* Changes by administrators come from root: this says for whom, for the journal. */
    this._headers = { "X-Byway-User": encodeURIComponent(user.name) };
    this._member = (user.groups ?? []).includes(GROUP);
    this._reader = cockpit.http(SOCKET);
    this._images = cockpit.http(SOCKET, { binary: true });
    this._administrator = cockpit.http(SOCKET, { superuser: "require" });
    this._permission = cockpit.permission({ admin: true });
    this._permission.addEventListener("changed", () => this._allow());
    this._allow();
    followTheme(this._theme, () => localStorage.getItem("shell:style") || "auto");
    this.onTheme((theme) => {
      // as Cockpit's own pages have it
      document.documentElement.classList.toggle("pf-v6-theme-dark", theme === "dark");
    });
  }

  async send(method, path, headers, body) {
    const reads = ["GET", "HEAD"].includes(method);
    const asRoot = !reads && (this._permission.allowed || !this._member);
    // Cockpit 287 would not answer at all, where later ones deny it.
    if (asRoot && this._permission.allowed === false) return this._refusal();
    const client = asRoot ? this._administrator : this._reader;
    const sent = asRoot ? { ...headers, ...this._headers } : headers;
    const answer = await this._ask(client, { method, path, headers: sent, body: body ?? "" });
    return { ...answer, text: answer.data ?? "" };
  }

  async image(path) {
    const answer = await this._ask(this._images, { method: "GET", path, body: "" });
    return answer.status === 200 ? toDataURI(answer.kind, answer.data) : "";
  }

  listen(onCut, onUp, onPart) {
    return new Promise((resolve, reject) => {
      let status = 0;
      const request = this._reader.request({ method: "GET", path: "/events", body: "" });
      onCut(() => request.close("cancelled"));
      request.response((code) => {
        status = code;
        if (code === 200) onUp();
      });
      request.stream((data) => {
        onPart(data);
      });
      request.then(resolve, (error, data) => {
        reject(new Unreachable(status ? explain(data) : describeProblem(error)));
      });
    });
  }

  _allow() {
    const may = this._permission.allowed || this._member;
    if (this._permission.allowed !== null || may)
      // null: not known yet
      this._access.set(may ? "write" : "read");
  }

  _ask(client, options) {
    return new Promise((resolve, reject) => {
      const answer = { status: 0, etag: "", kind: "", data: undefined };
      const request = client.request(options);
      request.response((status, headers) => {
        answer.status = status;
        answer.etag = findHeader(headers, "etag");
        answer.kind = findHeader(headers, "content-type");
      });
      const finish = (data) => resolve({ ...answer, data });
      request.then(finish, (error, data) => {
        if (answer.status) finish(data);
        else if (error.problem === "access-denied") resolve(this._refusal());
        else reject(new Unreachable(describeProblem(error)));
      });
    });
  }

  /** The answer to a change without administrative access, which never reaches byway. */
  _refusal() {
    const detail = "changing what byway does needs administrative access";
    const problem = { title: "Forbidden", status: 403, detail, key: "", remedy: this.accessHint };
    return {
      status: 403,
      etag: "",
      kind: "application/problem+json",
      data: JSON.stringify(problem),
    };
  }
}

async function connectCockpit() {
  if (!window.cockpit) await loadCockpit();
  const { cockpit } = window;
  await new Promise((resolve) => {
    cockpit.transport.wait(resolve);
  });
  return new Cockpit(cockpit, await cockpit.user());
}

/** Load Cockpit's script, which is no module: it sets window.cockpit. */
function loadCockpit() {
  return new Promise((resolve, reject) => {
    const script = document.createElement("script");
    script.src = "../base1/cockpit.js";
    script.addEventListener("load", resolve);
    script.addEventListener("error", () =>
      reject(new Unreachable("Cockpit does not answer (reload the page)")),
    );
    document.head.append(script);
  });
}

/** A value that is told now, once there is one, and at every change. */
class Announced {
  constructor() {
    this._value = undefined;
    this._callbacks = [];
  }

  tell(callback) {
    this._callbacks.push(callback);
    if (this._value !== undefined) callback(this._value);
  }

  set(value) {
    if (value === this._value) return;
    this._value = value;
    for (const callback of this._callbacks) callback(value);
  }
}

/** Calls back when nothing has reset it for too long. */
class Watch {
  constructor(callback) {
    this._callback = callback;
    this._timer = 0;
  }

  reset() {
    window.clearTimeout(this._timer);
    this._timer = window.setTimeout(this._callback, SILENCE);
  }

  stop() {
    window.clearTimeout(this._timer);
  }
}

/** Return a function that takes the text of an event stream in parts (HTML, 9.2.6). */
function readEvents(watch, onEvent) {
  let waiting = "";
  return (text) => {
    watch.reset();
    const blocks = (waiting + text).split("\n\n");
    waiting = blocks.pop();
    for (const block of blocks) {
      const fields = { event: "message", data: "" };
      for (const line of block.split("\n")) {
        const [, name, value] = /^(event|data): ?(.*)$/.exec(line) ?? [];
        if (name) fields[name] = value;
      }
      if (fields.data) onEvent(fields.event, JSON.parse(fields.data));
    }
  };
}

function followTheme(theme, style) {
  const dark = window.matchMedia("(prefers-color-scheme: dark)");
  const update = (chosen) => {
    const isDark = chosen === "dark" || (chosen === "auto" && dark.matches);
    theme.set(isDark ? "dark" : "light");
  };
  dark.addEventListener("change", () => update(style()));
  window.addEventListener("storage", (event) => {
    if (event.key === "shell:style") update(style());
  });
  window.addEventListener("cockpit-style", (event) => update(event.detail.style)); // the shell's own
  update(style());
}

async function readAll(response, read) {
  try {
    return await read(response);
  } catch {
    throw new Unreachable("the answer was cut off (try again)");
  }
}

function readBody({ kind, text }) {
  if (!/^application\/([\w.-]+\+)?json\b/.test(kind)) return text;
  try {
    return JSON.parse(text);
  } catch {
    return text;
  }
}

/** Return what a problem document says, for people. */
function explain(text) {
  try {
    const { detail, remedy } = JSON.parse(text);
    return remedy ? `${detail} (${remedy})` : detail;
  } catch {
    return "byway does not answer (journalctl -u byway says more)";
  }
}

function describeProblem(error) {
  return error.problem === "not-found"
    ? "byway does not run (start it: systemctl start byway)"
    : `byway does not answer: ${error.message || error.problem} (journalctl -u byway says more)`;
}

function findHeader(headers, wanted) {
  const name = Object.keys(headers).find((one) => one.toLowerCase() === wanted);
  return name ? headers[name] : "";
}

function toDataURI(kind, bytes) {
  let binary = "";
  for (let start = 0; start < bytes.length; start += 4096)
    // an argument list has its limits
    binary += String.fromCharCode(...bytes.subarray(start, start + 4096));
  return `data:${(kind ?? "").split(";")[0]};base64,${window.btoa(binary)}`;
}
