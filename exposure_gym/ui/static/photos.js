// The photos of the session: which is on the table, which come before and after it, how many are done.

import { element } from "./drawing.js";
import { state } from "./state.js";

const byId = (id) => document.getElementById(id);
const MARKS = { done: " ✓", failed: " (cannot be read)" };

/** Photos that wait to be finished. */
export const photosLeft = () => state.session.photos.filter(({ status }) => status !== "done" && status !== "failed");

/** Place of a photo in the list, from 0. */
export const position = (id) => state.session.photos.findIndex((photo) => photo.id === id);

/** The photo `step` places further in the list, if there is one. */
export const neighbour = (step) => state.session.photos[position(state.session.current) + step];

/** The next photo that waits, from the beginning again after the last. */
export function nextWaiting() {
  const waiting = photosLeft().filter((photo) => photo.id !== state.session.current);
  return waiting.find((photo) => position(photo.id) > position(state.session.current)) ?? waiting[0];
}

/** Note what became of a photo. */
export function markPhoto(id, status) {
  const photo = state.session.photos.find((each) => each.id === id);
  if (photo && photo.status !== "done") photo.status = status;
  drawPhotos();
}

/** Write the list and the progress. */
export function drawPhotos() {
  const { photos, current } = state.session;
  const option = ({ id, name, status }) => element("option", { value: id }, name + (MARKS[status] ?? ""));
  byId("photos").replaceChildren(...photos.map(option));
  byId("photos").value = current ?? "";
  byId("photos").disabled = photos.length === 0;
  byId("progress").textContent = photos.length ? `${position(current) + 1}/${photos.length}` : "";
  byId("progress").title = `${photos.filter((photo) => photo.status === "done").length} done`;
  byId("previous-photo").disabled = !neighbour(-1);
  byId("next-photo").disabled = !neighbour(1);
}
