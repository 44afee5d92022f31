// What is written beside the buttons about where the person is in the game.

import { canStep, changing, state, steps } from "./state.js";

/** Which step is in hand. */
export function stepText() {
  if (!state.photo) return "";
  const most = state.session.max_steps;
  if (state.photo.done) return "Saved";
  if (changing()) return `Changing step ${state.at + 1} of ${most}`;
  if (state.looking === 0) return "The beginning";
  return canStep() ? `Step ${steps().length + 1} of ${most}` : `All ${most} steps made`;
}

/** In the place of a filter's hint, when no filter is in hand. */
export function idleHint() {
  if (!state.photo) return "";
  if (state.photo.done) return "This photo is finished and saved.";
  if (state.looking !== null) return "The photo before any step.";
  return "No steps are left. Click a step below the photo to change it, or save the photo.";
}

/** What to do before the large button does anything: its `why`, when it has no work for the edit in hand. */
export const todoText = ({ work, why }) => (state.draft && !work && why ? why : "");
