// The editor: what a person does, in order. Every command ends in the server, and what it answers is drawn.

import { connection, Gone, get, post, rememberedSession, rememberSession, user } from "./api.js";
import { isNeutral, neutralOf } from "./controls.js";
import { listen, writeHelp } from "./keyboard.js";
import { showBeginning, showNoPhoto, showPicture } from "./look.js";
import { banner, notice, opening, say } from "./messages.js";
import { focusFirst, makeTabs, markUsed, onMove, reset, showFilter } from "./panel.js";
import { chooseWay, drawAgentButtons, drawSuggestion } from "./partner.js";
import { drawPhotos, markPhoto, neighbour, nextWaiting, photosLeft } from "./photos.js";
import { sayGoodbye, sayWhatWasSaved } from "./saved.js";
import { canStep, changing, filterNamed, hasAgent, state, steps, usedFilters } from "./state.js";
import { drawStrip, signed } from "./strip.js";
import { acceptFiles } from "./upload.js";
import * as viewer from "./viewer.js";
import { idleHint, stepText, todoText } from "./words.js";

const byId = (id) => document.getElementById(id);

// -- a photo on the table -----------------------------------------------------------------------------------------------

async function openSession() {
  const session = await enter();
  setSession(session);
  makeTabs(session.filters, chooseFilter);
  await openFirst();
}

/** The photo to go on with. */
async function openFirst() {
  const { current, photos } = state.session;
  const first = current ?? photosLeft()[0]?.id ?? photos[0]?.id;
  if (first === undefined) notice("No photo yet", "Add one with the button above, or drop it here.");
  else await openPhoto(first);
}

/** The session that this browser played, or another. */
async function enter() {
  const session = await post("/api/session", { session: rememberedSession(), user: user ?? undefined });
  rememberSession(session.session);
  return session;
}

function setSession(session) {
  state.session = session;
  drawPhotos();
}

async function openPhoto(id) {
  notice(null);
  opening(state.session.photos.find((photo) => photo.id === id).name);
  say("");
  Object.assign(state, { draft: null, suggestion: null, looking: null });
  try {
    state.session.current = id;
    const photo = await get(`/api/photos/${id}`);
    markPhoto(id, photo.done ? "done" : "open");
    setPhoto(photo);
    viewer.zoomToFit();
    if (!photo.steps.length && !photo.display) say("It begins dark, as a sensor records light. Make it brighter first.");
    await showBeginning();
  } catch (error) {
    if (error instanceof Gone) throw error;
    state.photo = null;
    if (error.status === 422) markPhoto(id, "failed");
    showNoPhoto();
    notice("This photo cannot be opened", error.message, photosLeft().length ? ["Next photo", nextPhoto] : null);
    render();
  }
}

/** Take what the server says about the photo, and get ready for the next step. */
function setPhoto(photo) {
  const last = state.draft?.filter;
  Object.assign(state, { photo, at: photo.steps.length, suggestion: null, looking: null, draft: null, touched: false });
  if (canStep()) takeInHand(nextFilter(last));
  render();
  showPicture();
}

/** The filter after the last one that was not used yet, so that a slider is always at hand. */
function nextFilter(last) {
  const { filters } = state.session;
  const start = last ? filters.findIndex((filter) => filter.name === last) + 1 : 0;
  const inOrder = [...filters.slice(start), ...filters.slice(0, start)];
  return inOrder.find((filter) => !usedFilters().has(filter.name)) ?? inOrder[0];
}

function takeInHand(filter, parameters = neutralOf(filter)) {
  state.draft = { filter: filter.name, parameters };
  state.touched = false;
}

// -- commands -------------------------------------------------------------------------------------------------------------

/** Do one thing at a time, say what went wrong, and lose nothing when the server is gone. */
async function command(work, waiting = "") {
  if (state.busy || !state.session) return;
  state.busy = true;
  if (waiting) say(waiting);
  render();
  try {
    await work();
    if (waiting && byId("message").textContent === waiting) say("");
  } catch (error) {
    if (!(error instanceof Gone)) say(error.message);
    if (error.status === 409) await catchUp();
  } finally {
    state.busy = false;
    render();
  }
}

/** The photo is not as this page has it: it was edited in another window. */
async function catchUp() {
  const now = await get(`/api/photos/${state.photo.id}`).catch(() => null);
  if (now) setPhoto(now);
}

function chooseFilter(name) {
  const filter = filterNamed(name);
  if (!state.photo || state.photo.done || state.busy) return;
  if (!canStep() && !changing()) {
    say("No steps are left. Click a step below the photo to change it, or press Done.");
    return;
  }
  state.suggestion = null;
  state.looking = null;
  if (state.draft?.filter !== name) {
    const own = changing() && steps()[state.at].edit.filter === name ? steps()[state.at].edit.parameters : undefined;
    takeInHand(filter, own);
  }
  say("");
  render();
  showPicture();
  byId("filter").scrollIntoView({ block: "nearest" });
}

onMove((parameters) => {
  state.draft.parameters = parameters;
  state.looking = null;
  if (!state.touched) {
    state.touched = true;
    say("");
    render();
  }
  showPicture(performance.now());
});

/** A frame of the strip: look at the beginning, change a step, or go on with the next. */
function select(k) {
  if (state.busy || !state.photo) return;
  say("");
  state.suggestion = null;
  if (k === 0) {
    state.looking = 0;
  } else if (k <= steps().length && !state.photo.done) {
    const { edit } = steps()[k - 1];
    state.looking = null;
    state.at = k - 1;
    takeInHand(filterNamed(edit.filter), [...edit.parameters]);
  } else if (k <= steps().length) {
    state.looking = k;
  } else {
    state.looking = null;
    state.at = steps().length;
    if (canStep()) takeInHand(nextFilter(null));
  }
  render();
  showPicture();
}

function apply() {
  const mode = primary();
  return mode.work ? mode.work() : say(mode.why);
}

/** What the large button does now: its label, and its work or why it has none. */
function primary() {
  const next = steps().length + 1;
  const waiting = photosLeft().length > 0;
  if (!state.photo) return { label: "Next photo", work: waiting ? nextPhoto : null, why: "No photo is left." };
  if (state.photo.done && waiting) return { label: "Next photo", work: nextPhoto };
  if (state.photo.done) return { label: "See all photos", work: sayGoodbye };
  if (state.suggestion) return { label: "Accept", work: accept };
  if (state.looking !== null) {
    return { label: canStep() ? `Go on with step ${next}` : "Back to the photo", work: () => select(next) };
  }
  if (changing()) {
    const work = state.touched || isOther() ? applyDraft : null;
    return { label: `Change step ${state.at + 1}`, work, why: "Move a slider to change it" };
  }
  if (!state.draft) return { label: "Done: save the photo", work: done };
  const still = isNeutral(filterNamed(state.draft.filter), state.draft.parameters);
  return { label: "Apply", work: still ? null : applyDraft, why: "Move a slider, then Apply" };
}

const isOther = () => state.draft.filter !== steps()[state.at].edit.filter;

const applyDraft = () => command(() => commit(state.at, { ...state.draft }));
const accept = () => command(() => commit(steps().length, state.suggestion.suggestion));

async function commit(step, edit) {
  setPhoto(await post(`/api/photos/${state.photo.id}/edits`, { step, edit }));
  const { reward } = steps()[step];
  const earned = reward === null ? "" : `: reward ${signed(reward)}`;
  say(`Step ${step + 1} ${step < steps().length - 1 ? "changed" : "made"}${earned}.`);
}

const remove = () => changing() && command(async () => {
  setPhoto(await post(`/api/photos/${state.photo.id}/edits/remove`, { step: state.at }));
});

const turnBack = (way) => command(async () => setPhoto(await post(`/api/photos/${state.photo.id}/${way}`)));
const undo = () => state.photo?.can_undo && turnBack("undo");
const redo = () => state.photo?.can_redo && turnBack("redo");

function cancel() {
  if (state.busy || !state.photo) return;
  if (state.suggestion || changing() || state.looking !== null) setPhoto(state.photo);
  else reset();
}

const ask = () => canAsk() && command(async () => {
  const answer = await post(`/api/photos/${state.photo.id}/ask`);
  Object.assign(state, { suggestion: answer, looking: null, draft: null, at: steps().length });
  render();
  showPicture();
}, "The agent is looking at your photo …");

function adjust() {
  const { filter, parameters } = state.suggestion.suggestion;
  state.suggestion = null;
  state.at = steps().length;
  takeInHand(filterNamed(filter), [...parameters]);
  state.touched = true;
  render();
  showPicture();
}

const finish = () => canAsk() && command(async () => {
  setPhoto(await post(`/api/photos/${state.photo.id}/finish`));
  say("The agent made the rest. Change any step, or press Done.");
}, "The agent is finishing your photo …");

const ways = () => hasAgent() && state.photo && !state.photo.done && command(async () => {
  const kept = canStep() ? steps().length : 0;
  const answer = await post(`/api/photos/${state.photo.id}/ways`, { step: kept });
  say("");
  const way = await chooseWay(answer.ways, kept, steps().length);
  if (way) setPhoto(await post(`/api/photos/${state.photo.id}/choose`, { edits: way.edits }));
}, "The agent tries five ways …");

const canAsk = () => hasAgent() && canStep();

const done = () => state.photo && !state.photo.done && command(async () => {
  const { id, name } = state.photo;
  const answer = await post(`/api/photos/${id}/done`, { format: byId("format").value });
  setSession({ ...answer.session, current: id });
  setPhoto(await get(`/api/photos/${id}`));
  say("Saved.");
  const wish = await sayWhatWasSaved(answer, name);
  if (wish === "summary") await sayGoodbye();
  else if (wish !== null) await openPhoto(wish);
}, "Saving the photo at its full size …");

// -- from photo to photo --------------------------------------------------------------------------------------------------

const goTo = (id) => command(() => openPhoto(id));

function nextPhoto() {
  const next = nextWaiting();
  return next ? goTo(next.id) : sayGoodbye();
}

function turnTo(direction) {
  const photo = state.session && neighbour(direction);
  if (photo) goTo(photo.id);
}

// -- drawing --------------------------------------------------------------------------------------------------------------

/** Draw everything that is not a picture. */
function render() {
  const { photo, draft, suggestion, busy, gone } = state;
  const main = primary();
  const button = byId("apply");
  button.textContent = main.label;
  button.setAttribute("aria-disabled", String(!main.work || busy || gone));
  byId("through").hidden = !(changing() && state.at < steps().length - 1);
  byId("remove").hidden = !changing();
  byId("adjust").hidden = !suggestion;
  byId("cancel").hidden = !(suggestion || changing());
  byId("cancel").textContent = suggestion ? "Dismiss" : "Cancel";
  byId("reset").hidden = !draft || changing() || state.looking !== null || Boolean(suggestion);
  byId("undo").disabled = !photo?.can_undo || busy || gone;
  byId("redo").disabled = !photo?.can_redo || busy || gone;
  byId("done").disabled = !photo || photo.done || busy || gone;
  byId("done").classList.toggle("ready", steps().length > 0);
  byId("count").textContent = stepText();
  byId("todo").textContent = todoText(main);
  document.body.classList.toggle("busy", busy);
  const filter = draft && state.looking === null ? filterNamed(draft.filter) : null;
  showFilter(filter, draft?.parameters);
  if (!filter) byId("hint").textContent = idleHint();
  markUsed(usedFilters(), state.session.filters);
  viewer.setComparable(Boolean(suggestion) || steps().length > 0 || state.touched);
  drawSuggestion();
  drawAgentButtons(canStep());
  drawStrip(select);
}

// -- begin ----------------------------------------------------------------------------------------------------------------

const commands = {
  apply, reset, undo, redo, remove, cancel, ask, finish, ways, done,
  choose: (key) => {
    const filter = state.session?.filters[Number(key) - 1];
    if (!filter) return;
    chooseFilter(filter.name);
    focusFirst();
  },
  hold: () => viewer.hold(true),
  release: () => viewer.hold(false),
  compare: () => viewer.compare(),
  closer: () => viewer.zoomBy(1.25),
  further: () => viewer.zoomBy(0.8),
  fit: viewer.zoomToFit,
  next: () => turnTo(1),
  previous: () => turnTo(-1),
  help: () => byId("help-dialog").showModal(),
};

for (const id of ["apply", "adjust", "remove", "cancel", "reset", "undo", "redo", "ask", "finish", "ways", "done"]) {
  byId(id).addEventListener("click", { ...commands, adjust }[id]);
}
byId("previous-photo").addEventListener("click", commands.previous);
byId("next-photo").addEventListener("click", commands.next);
byId("help-open").addEventListener("click", commands.help);
byId("photos").addEventListener("change", (event) => goTo(Number(event.target.value)));
byId("through").addEventListener("change", () => showPicture());
for (const button of document.querySelectorAll("dialog .close")) {
  button.addEventListener("click", () => button.closest("dialog").close());
}

acceptFiles((files) => command(async () => {
  const known = new Set(state.session.photos.map((photo) => photo.id));
  const refused = [];
  for (const file of files) {
    try {
      setSession(await post(`/api/upload?name=${encodeURIComponent(file.name)}`, file));
    } catch (error) {
      if (error instanceof Gone) throw error;
      refused.push(`${file.name}: ${error.message}`);
    }
  }
  const added = state.session.photos.find((photo) => !known.has(photo.id));
  if (added) await openPhoto(added.id);
  if (refused.length) say(refused.join(" "));
}, "Adding the photo …"));

connection.addEventListener("gone", () => {
  state.gone = true;
  banner("The editor has stopped. Start it again with the same command: your steps are saved. Waiting for it …");
  if (state.session) render();
});
connection.addEventListener("back", async () => {
  state.gone = false;
  if (state.session) await command(comeBack);
  else await begin();
  if (!state.gone) banner(null);
});

/** After the server was gone: the same photo, the same step, the same sliders, where nothing has changed meanwhile. */
async function comeBack() {
  const { photo, at, draft, touched } = state;
  const session = await enter();
  setSession(photo ? { ...session, current: photo.id } : session);
  if (!photo) {
    await openFirst();
    return;
  }
  const now = await get(`/api/photos/${photo.id}`);
  const edits = ({ steps }) => JSON.stringify(steps.map((step) => step.edit));
  setPhoto(now);
  if (draft && !now.done && edits(now) === edits(photo)) Object.assign(state, { at, draft, touched });
  render();
  showPicture();
  await showBeginning();
}

const begin = () => openSession().catch((error) => {
  if (!(error instanceof Gone)) notice("The editor could not begin", error.message);
});

writeHelp();
listen(commands);
begin();
