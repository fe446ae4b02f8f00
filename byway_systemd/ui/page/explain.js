// Where a process, a unit or an address goes, and why.

import { badge, button, labelled, paragraph, refusal, select } from "./controls.js";
import { element } from "./dom.js";

const KINDS = {
  pid: ["Process (PID)", "4711"],
  unit: ["Unit", "jellyfin.service"],
  destination: ["Address", "198.51.100.1"],
};
const VERDICTS = {
  direct: ["info", "by the direct link"],
  vpn: ["success", "by the VPN, or as the main table has it"],
  near: ["info", "near: without any direct link"],
};

/**
 * @param {Object} state
 * @param {Object} context
 * @returns {Element}
 */
export function explainForm(state, context) {
  const { store } = context;
  const asked = state.explanation ?? { kind: "pid", text: "" };
  const set = (changes) => store.set({ explanation: { ...asked, reply: null, ...changes } });
  const kinds = Object.entries(KINDS).map(([kind, [label]]) => [kind, label]);
  return element(
    "form",
    {
      onsubmit: (event) => {
        event.preventDefault();
        explain(context, asked);
      },
    },
    element(
      "div",
      { class: "line" },
      labelled(
        "What",
        select(
          {
            id: "explain-kind", value: asked.kind,
            onchange: (event) => set({ kind: event.target.value }),
          },
          kinds,
        ),
      ),
      labelled(
        "Which",
        element("input", {
          type: "text", id: "explain-text", value: asked.text, placeholder: KINDS[asked.kind][1],
          autocomplete: "off", spellcheck: "false", required: true,
          oninput: (event) => set({ text: event.target.value }),
        }),
      ),
      button("Explain", null, { type: "submit", id: "explain" }),
    ),
    element("div", { role: "status", class: "answer", id: "explanation" }, answer(asked.reply)),
  );
}

function answer(reply) {
  if (!reply) {
    return null;
  }
  if (!reply.ok) {
    return refusal(reply.problem);
  }
  const { verdict, because, profile, placement, cgroup, cgroups, change } = reply.body;
  const [kind, words] = VERDICTS[verdict];
  const places = cgroup ? [cgroup] : (cgroups ?? []);
  return [
    element("p", {}, "It goes ", badge(kind, words), ", because ", because, "."),
    profile && paragraph(`Profile: ${profile}.`),
    placement && paragraph(`Placed by: ${placement}.`),
    places.length > 0 && element("p", {}, "Cgroup: ", element("code", {}, places.join(", "))),
    change &&
      paragraph(`About to change: ${change.operation} ${change.object} (${change.because}).`),
  ];
}

async function explain({ store, requests }, asked) {
  const query = `${asked.kind}=${encodeURIComponent(asked.text.trim())}`;
  const reply = await requests.get(`/api/v1/explain?${query}`);
  store.set({ explanation: { ...asked, reply } });
}
