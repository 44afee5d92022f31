// The film strip: the beginning, the steps that were made, and empty frames for those that are left.

import { blob } from "./api.js";
import { element } from "./drawing.js";
import { changing, state, steps } from "./state.js";

const REMEMBERED = 80; // thumbnails

const thumbnails = new Map(); // from the edits that lead to a picture to its blob URL, oldest first

/** The key of the picture after `k` steps: a picture is the photo and its edits, nothing else. */
export function pictureKey(k) {
  const edits = steps().slice(0, k).map((step) => step.edit);
  return JSON.stringify([state.session.session, state.photo.id, edits]);
}

/** A reward or score with its sign, as everywhere on the page. */
export const signed = (value, digits = 3) => `${value < 0 ? "−" : "+"}${Math.abs(value).toFixed(digits)}`;

/** Draw the strip; `select` is called with the number of the frame that is chosen. */
export function drawStrip(select) {
  const frames = document.getElementById("frames");
  const focused = frames.contains(document.activeElement) ? document.activeElement.dataset.frame : null;
  const before = frames.scrollLeft;
  frames.replaceChildren(...all(select));
  frames.scrollLeft = before;
  if (focused !== null) frames.querySelector(`[data-frame="${focused}"]:not(:disabled)`)?.focus({ preventScroll: true });
  const current = frames.querySelector("[aria-current]");
  if (current && frames.scrollWidth > frames.clientWidth) {
    frames.scrollTo({ left: current.offsetLeft - frames.clientWidth / 2 + current.offsetWidth / 2, behavior: "smooth" });
  }
  drawScore();
}

function all(select) {
  if (!state.photo) return [];
  const count = state.session.max_steps;
  return Array.from({ length: count + 1 }, (_, k) => {
    if (k <= steps().length) return frame(k, select);
    return empty(k, k === steps().length + 1 && state.photo.steps_left > 0 && !state.photo.done, select);
  });
}

function current(k) {
  if (state.looking !== null) return k === state.looking;
  if (changing()) return k === state.at + 1;
  return state.draft || state.suggestion ? k === steps().length + 1 : k === state.at;
}

function frame(k, select) {
  const step = steps()[k - 1];
  const picture = element("img", { alt: "", draggable: "false" });
  setThumbnail(k, picture);
  const fined = step && Object.values(step.penalties ?? {}).some((cost) => cost > 0.0005);
  const title = fined ? "Reward, after a penalty" : "Reward";
  const reward = step && step.reward !== null
    ? element("span", { class: `reward ${step.reward < 0 ? "less" : "more"}`, title }, (fined ? "⚠ " : "") + signed(step.reward))
    : null;
  const number = element("span", { class: "number" }, step ? String(k) : "Start");
  const agent = step?.by === "agent" ? element("span", { class: "by", title: "The agent’s step" }, "agent") : null;
  const button = element("button", {
    class: "frame", "aria-current": current(k) ? "step" : undefined,
    title: step ? `${step.words}: click to change it` : "The photo before any step", click: () => select(k),
  }, element("span", { class: "window" }, picture, number, agent, reward),
  element("span", { class: "words" }, step ? step.words : "as it came"));
  button.dataset.frame = k;
  return element("li", {}, button);
}

function empty(k, next, select) {
  const button = element("button", {
    class: "frame empty", disabled: !next, "aria-current": current(k) ? "step" : undefined, click: () => select(k),
    "aria-label": next ? `Step ${k}, the next` : `Step ${k}, not made yet`,
  }, element("span", { class: "window blank" }, String(k)), element("span", { class: "words" }, next ? "next step" : ""));
  button.dataset.frame = k;
  return element("li", {}, button);
}

/** Give an image element the picture after `k` steps, small. */
export async function setThumbnail(k, picture) {
  const key = pictureKey(k);
  const known = thumbnails.get(key);
  if (known) {
    picture.src = known;
    return;
  }
  try {
    const url = URL.createObjectURL(await blob(`/api/photos/${state.photo.id}/picture?step=${k}&size=thumb`));
    thumbnails.set(key, url);
    picture.src = url;
    if (thumbnails.size > REMEMBERED) {
      const [oldest, its] = thumbnails.entries().next().value;
      thumbnails.delete(oldest);
      URL.revokeObjectURL(its);
    }
  } catch {
    // The strip is drawn again after whatever happened.
  }
}

function drawScore() {
  const box = document.getElementById("score");
  if (!state.photo) {
    box.replaceChildren();
    return;
  }
  const left = state.photo.steps_left;
  const parts = [element("p", { class: "left" }, element("b", {}, String(left)), left === 1 ? " step left" : " steps left")];
  if (state.photo.score !== null && state.photo.score !== undefined) {
    const total = steps().reduce((sum, step) => sum + (step.reward ?? 0), 0);
    const line = (label, text, title) => element("p", { title }, label, element("b", {}, text));
    parts.push(line("Score ", signed(state.photo.score, 2), "What the critic thinks of the photo: more is better"));
    parts.push(line("Reward ", signed(total), "What the steps have earned together"));
  }
  box.replaceChildren(...parts);
}
