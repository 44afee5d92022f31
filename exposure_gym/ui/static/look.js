// What is seen: the photo with whatever is in hand, its histogram, what a step would earn.

import { bitmap, Gone, get, post, unpack } from "./api.js";
import { drawHistogram } from "./drawing.js";
import { latest } from "./latest.js";
import { opening, say } from "./messages.js";
import { showCurve } from "./panel.js";
import { changing, state } from "./state.js";
import { pictureKey, signed } from "./strip.js";
import { showAfter, showBefore, showNothing } from "./viewer.js";

const byId = (id) => document.getElementById(id);

let asked = 0; // counts what was asked to be shown
let drawn = 0; // the newest of them that was: what comes later than a newer one is not drawn
let beginning = null; // of the photo on the table

/** Draw the photo before any edit, for the left of the divide. */
export async function showBeginning() {
  const key = pictureKey(0);
  if (beginning?.key !== key) {
    beginning = { key, picture: await bitmap(`/api/photos/${state.photo.id}/picture?step=0&size=preview`) };
  }
  showBefore(beginning.picture);
}

/** Show that there is no photo, for one cannot be read. */
export function showNoPhoto() {
  asked += 1;
  live.drop();
  showNothing();
  drawHistogram(document.querySelector("#histogram canvas"), { r: [], g: [], b: [] });
  for (const end of ["shadows", "highlights"]) {
    byId(end).querySelector("b").textContent = "–";
    byId(end).classList.remove("clipping");
  }
  byId("forecast").textContent = "";
  busy(false);
}

/**
 * Show what is in hand: the agent's suggestion, the edit that is being made, or the photo after a step.
 *
 * @param {number} [since] when the hand moved, to measure how long it takes until that is seen
 */
export async function showPicture(since) {
  const turn = (asked += 1);
  const { photo, draft, suggestion, looking, at } = state;
  if (!photo || state.gone) return;
  busy(true);
  if (draft && !suggestion && looking === null) {
    const through = changing() && byId("through").firstElementChild.checked;
    live.ask({ turn, since, photo: photo.id, body: { step: at, edit: draft, through } });
    return;
  }
  live.drop();
  await attempt(async () => {
    if (suggestion) draw(turn, photo.id, suggestion, await createImageBitmap(unpack(suggestion.image)));
    else await showStep(turn, photo.id, looking ?? at);
  });
}

const live = latest(({ turn, since, photo, body }) => attempt(async () => {
  const answer = await post(`/api/photos/${photo}/preview`, body);
  const seen = draw(turn, photo, answer, await createImageBitmap(unpack(answer.image)));
  if (seen && since) requestAnimationFrame(() => performance.measure("movement", { start: since, end: performance.now() }));
}));

async function showStep(turn, photo, k) {
  const [picture, levels] = await Promise.all([
    bitmap(`/api/photos/${photo}/picture?step=${k}&size=preview`), get(`/api/photos/${photo}/histogram?step=${k}`),
  ]);
  draw(turn, photo, levels, picture);
}

async function attempt(work) {
  try {
    await work();
  } catch (error) {
    busy(false);
    if (error instanceof Gone) return;
    opening(null);
    say(error.message);
  }
}

const busy = (on) => byId("viewer").setAttribute("aria-busy", String(on));

/** Whether it was new enough to be drawn. */
function draw(turn, photo, answer, picture) {
  if (turn < drawn || state.photo?.id !== photo) return false;
  drawn = turn;
  showAfter(picture);
  opening(null);
  drawLevels(answer);
  showCurve(answer.curve);
  forecast(answer);
  if (turn === asked) busy(false);
  return true;
}

function drawLevels({ histogram, clipped }) {
  drawHistogram(document.querySelector("#histogram canvas"), histogram);
  for (const end of ["shadows", "highlights"]) {
    const part = clipped[end];
    byId(end).querySelector("b").textContent = part > 0 && part < 0.001 ? "< 0.1 %" : `${(100 * part).toFixed(1)} %`;
    byId(end).classList.toggle("clipping", part >= 0.001);
  }
}

/** What the step in hand would earn, and what it costs to use a filter again. */
function forecast({ reuse_penalty: reuse = 0, reward = null }) {
  byId("penalty").hidden = !(reuse > 0);
  byId("penalty").textContent = `Used already: using it again costs ${reuse.toFixed(2)} of the reward.`;
  const inHand = state.touched || state.suggestion;
  byId("forecast").textContent = inHand && reward !== null ? `Reward ${signed(reward)}` : "";
}
