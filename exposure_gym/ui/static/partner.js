// The agent as a partner: what it would do next, and five ways it would finish.

import { unpack } from "./api.js";
import { element } from "./drawing.js";
import { state } from "./state.js";
import { signed } from "./strip.js";

const byId = (id) => document.getElementById(id);

/** Show the agent's probabilities as bars, and its suggestion in words; or take them away. */
export function drawSuggestion() {
  const { suggestion } = state;
  byId("suggestion").hidden = !suggestion;
  byId("filter").hidden = Boolean(suggestion);
  if (!suggestion) return;
  const entries = state.session.filters.map((filter) => [filter, suggestion.probabilities[filter.name] ?? 0]);
  const most = Math.max(...entries.map(([, p]) => p), 1e-9);
  byId("bars").replaceChildren(...entries.map(([filter, p]) => {
    const bar = element("i", { "aria-hidden": "true" });
    bar.style.width = `${(100 * p) / most}%`;
    const chosen = filter.name === suggestion.suggestion.filter;
    return element("li", { class: chosen ? "chosen" : undefined }, element("span", {}, filter.label),
      element("span", { class: "bar" }, bar), element("span", { class: "much" }, percent(p)));
  }));
  byId("suggested").replaceChildren("It suggests ", element("b", {}, suggestion.words), ". You see it in the photo.");
}

const percent = (p) => (p > 0 && p < 0.005 ? "< 1 %" : `${Math.round(100 * p)} %`);

/** Show five finished versions, which keep the first steps or none; resolves to the one that is chosen, or null. */
export function chooseWay(ways, kept, made) {
  byId("ways-words").textContent = kept ? "Choose one: it keeps your steps and goes on. Undo takes it back."
    : made ? "Choose one: its steps take the place of yours. Undo brings yours back."
      : "Choose one: every step of it can still be changed, or undone.";
  const dialog = byId("ways-dialog");
  return new Promise((resolve) => {
    let chosen = null;
    const urls = [];
    const pick = (way) => {
      chosen = way;
      dialog.close();
    };
    byId("cards").replaceChildren(...ways.map((way, i) => {
      const url = URL.createObjectURL(unpack(way.image));
      urls.push(url);
      const score = way.score === null ? null : element("span", { class: "reward" }, `score ${signed(way.score, 2)}`);
      const words = element("span", { class: "words" }, ...way.words.map((each) => element("span", {}, each)));
      const label = `Way ${i + 1}: ${way.words.join(", ")}`;
      return element("li", {}, element("button", { class: "card", "aria-label": label, click: () => pick(way) },
        element("img", { src: url, alt: "" }),
        element("span", { class: "what" }, element("b", {}, `Way ${i + 1}`), score), words));
    }));
    dialog.onkeydown = (event) => {
      const way = ways[Number(event.key) - 1];
      if (way && !event.ctrlKey && !event.metaKey && !event.altKey) pick(way);
    };
    dialog.addEventListener("close", () => {
      urls.forEach((url) => URL.revokeObjectURL(url));
      resolve(chosen);
    }, { once: true });
    dialog.showModal();
    byId("cards").querySelector("button").focus();
  });
}

/** Say which of the agent's buttons work now, and why the others do not. */
export function drawAgentButtons(canStep) {
  const { available, message } = state.session.agent;
  const idle = available && !state.busy && !state.gone && state.photo && !state.photo.done;
  for (const id of ["ask", "finish", "ways"]) {
    const needsStep = id !== "ways";
    byId(id).disabled = !idle || (needsStep && !canStep);
  }
  byId("no-agent").hidden = available;
  byId("no-agent").textContent = available ? "" : message ?? "No agent is here to ask.";
}
