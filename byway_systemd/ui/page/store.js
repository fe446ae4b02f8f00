// The state, in one place: the views are functions of it.

/**
 * Make a store. Subscribers are told once, however often the state was changed meanwhile.
 * @param {Object} initial
 * @returns {{get: function(): Object, set: function(Object): void,
 *   update: function(string, function(*): *): void, subscribe: function(function(Object)): void}}
 */
export function createStore(initial) {
  let state = initial;
  let told = true;
  const subscribers = [];
  function tell() {
    told = true;
    for (const subscriber of subscribers) {
      subscriber(state);
    }
  }
  function set(changes) {
    state = { ...state, ...changes };
    if (told) {
      told = false;
      queueMicrotask(tell);
    }
  }
  return {
    get: () => state,
    set,
    update: (name, change) => set({ [name]: change(state[name]) }),
    subscribe: (subscriber) => subscribers.push(subscriber),
  };
}

/** What nothing is known of, nor may be read, has no value. */
export const UNREAD = { value: null, etag: "", problem: null };

/**
 * The state before anything is known.
 * @returns {Object}
 */
export function initialState() {
  return {
    connection: "connecting", // "up", "down"
    downReason: "",
    access: "", // "write", "read", or not known yet
    accessHint: "",
    tab: "overview",
    status: null, // as GET /api/v1/status
    counters: null,
    mode: UNREAD,
    settings: UNREAD,
    overrides: UNREAD,
    bypass: UNREAD,
    candidates: null,
    programs: null,
    icons: {}, // name: data URI
    drafts: {}, // what is typed and not applied, by form
    refusals: {}, // why a form was refused, by form
    stale: {}, // forms that somebody else has changed since they were read
    busy: "", // what is being asked for
    pending: null, // {deadline}: what waits to be confirmed
    now: Date.now(),
    trial: null,
    explanation: null,
    log: [],
    message: null, // {text, kind}: what came of the last thing that was done
    dialog: null,
    focus: null, // {id, start, end}: where the focus is to go after the next drawing
    width: 0, // of the picture
  };
}
