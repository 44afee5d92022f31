// The photo: before and after on top of each other, the divide between them, zoom and pan.
//
// Both pictures are canvases of the preview's size in one stage; zoom and pan are a transform of the stage, and the
// divide is a clip of the upper one.

import { clamp } from "./controls.js";

const byId = (id) => document.getElementById(id);
const viewer = byId("viewer");
const stage = byId("stage");
const before = byId("before");
const after = byId("after");
const divide = byId("divide");
const tags = { before: byId("tag-before"), after: byId("tag-after") };

const MARGIN = 16; // between the whole photo and the edge
const MOST = 8; // screen pixels of a preview's pixel

let zoom = null; // screen pixels of a preview's pixel; null: so that the whole photo is seen
let centre = [0.5, 0.5]; // the place of the photo in the middle of the viewer
let at = 0.3; // of the visible part of the photo
let comparing = true; // as the person wishes
let comparable = false; // whether before and after differ

/** Draw the photo as it is before any edit. */
export function showBefore(picture) {
  paint(before, picture);
}

/** Draw the photo as it is now. */
export function showAfter(picture) {
  paint(after, picture);
}

/** Show that no photo is there, e.g. because it cannot be read. */
export function showNothing() {
  stage.classList.add("empty");
  place();
}

function paint(canvas, picture) {
  const known = canvas.width === picture.width && canvas.height === picture.height && !stage.classList.contains("empty");
  if (!known) {
    canvas.width = picture.width;
    canvas.height = picture.height;
    stage.classList.remove("empty");
    place();
  }
  canvas.getContext("2d").drawImage(picture, 0, 0);
}

/** Back to the whole photo, for a new one. */
export function zoomToFit() {
  zoom = null;
  centre = [0.5, 0.5];
  place();
}

/** Pixel for pixel of the preview. */
function zoomToFull() {
  zoom = 1;
  place();
}

/** Closer or further by a factor, about a place of the screen. */
export function zoomBy(factor, x, y) {
  const box = viewer.getBoundingClientRect();
  const old = scale();
  const wished = clamp(old * factor, Math.min(fitScale(), 1), MOST);
  if (wished <= fitScale() * 1.001 && factor < 1) return zoomToFit();
  const middle = [box.x + box.width / 2, box.y + box.height / 2];
  const fromMiddle = [(x ?? middle[0]) - middle[0], (y ?? middle[1]) - middle[1]];
  const shift = 1 / old - 1 / wished;
  centre = [centre[0] + (fromMiddle[0] * shift) / after.width, centre[1] + (fromMiddle[1] * shift) / after.height];
  zoom = wished;
  place();
}

/** Divide the photo in before and after, or show the whole of it. */
export function compare(on = !comparing) {
  comparing = on;
  byId("compare").setAttribute("aria-pressed", String(on));
  place();
}

/** Say whether there is anything to compare: while nothing was done the divide would only be in the way. */
export function setComparable(on) {
  if (on === comparable) return;
  comparable = on;
  place();
}

/** Show the photo before, as long as a key or button is held. */
export function hold(on) {
  stage.classList.toggle("holding", on);
  byId("hold").setAttribute("aria-pressed", String(on));
  place();
}

function fitScale() {
  const margin = viewer.clientWidth < 600 ? 0 : MARGIN;
  const wide = (viewer.clientWidth - 2 * margin) / after.width;
  return Math.min(wide, (viewer.clientHeight - 2 * margin) / after.height);
}

const scale = () => zoom ?? fitScale();

function place() {
  const size = scale();
  const [width, height] = [after.width * size, after.height * size];
  const room = [viewer.clientWidth, viewer.clientHeight];
  centre = centre.map((value, i) => {
    const half = room[i] / 2 / [width, height][i];
    return half >= 0.5 ? 0.5 : clamp(value, half, 1 - half);
  });
  const left = room[0] / 2 - centre[0] * width;
  const top = room[1] / 2 - centre[1] * height;
  stage.style.transform = `translate(${left}px, ${top}px) scale(${size})`;
  before.style.transform = `scale(${after.width / before.width}, ${after.height / before.height})`;
  stage.classList.toggle("moving", width > room[0] + 1 || height > room[1] + 1);
  viewer.classList.toggle("zoomed", stage.classList.contains("moving"));
  byId("zoom-fit").setAttribute("aria-pressed", String(zoom === null));
  byId("zoom-full").setAttribute("aria-pressed", String(zoom === 1));
  placeDivide(left, top, width, height);
}

function placeDivide(left, top, width, height) {
  const whole = stage.classList.contains("holding");
  const [from, to] = visible(left, width);
  const x = from + at * (to - from);
  const divided = comparing && comparable;
  const hidden = !divided || whole || stage.classList.contains("empty");
  divide.hidden = hidden;
  divide.style.transform = `translateX(${x}px)`;
  divide.style.top = `${Math.max(0, top)}px`;
  divide.style.height = `${Math.min(viewer.clientHeight, top + height) - Math.max(0, top)}px`;
  divide.setAttribute("aria-valuenow", String(Math.round(100 * at)));
  divide.setAttribute("aria-valuetext", `${Math.round(100 * at)} % before`);
  const shown = clamp((x - left) / width, 0, 1) * before.width;
  before.style.clipPath = whole ? "none" : divided ? `inset(0 ${before.width - shown}px 0 0)` : "inset(0 100% 0 0)";
  const upper = Math.max(0, top) + 8;
  for (const tag of Object.values(tags)) tag.style.top = `${upper}px`;
  tags.before.style.left = `${from + 8}px`;
  tags.after.style.left = `${to - 8}px`;
  tags.before.hidden = !(whole || (!hidden && x - from > 70));
  tags.after.hidden = hidden || to - x < 70;
}

/** Left and right edge of the visible part of the photo, in the viewer. */
const visible = (left, width) => [Math.max(0, left), Math.min(viewer.clientWidth, left + width)];

// -- the divide -------------------------------------------------------------------------------------------------------

function moveDivide(screenX) {
  const width = after.width * scale();
  const left = viewer.clientWidth / 2 - centre[0] * width;
  const [from, to] = visible(left, width);
  at = clamp((screenX - viewer.getBoundingClientRect().x - from) / (to - from), 0, 1);
  place();
}

divide.addEventListener("pointerdown", (event) => {
  event.stopPropagation();
  divide.setPointerCapture(event.pointerId);
  divide.focus({ preventScroll: true });
  event.preventDefault();
});
divide.addEventListener("pointermove", (event) => {
  if (divide.hasPointerCapture(event.pointerId)) moveDivide(event.clientX);
});
divide.addEventListener("dblclick", (event) => {
  event.stopPropagation();
  at = 0.5;
  place();
});
divide.addEventListener("keydown", (event) => {
  const moves = { ArrowLeft: at - 0.02, ArrowDown: at - 0.02, ArrowRight: at + 0.02, ArrowUp: at + 0.02 };
  const wished = { ...moves, PageDown: at - 0.1, PageUp: at + 0.1, Home: 0, End: 1 }[event.key];
  if (wished === undefined) return;
  event.preventDefault();
  event.stopPropagation();
  at = clamp(wished, 0, 1);
  place();
});

// -- zoom and pan -----------------------------------------------------------------------------------------------------

const hands = new Map(); // pointers that are down on the photo

viewer.addEventListener("wheel", (event) => {
  event.preventDefault();
  zoomBy(Math.exp(-clamp(event.deltaY, -200, 200) / 400), event.clientX, event.clientY);
}, { passive: false });

viewer.addEventListener("pointerdown", (event) => {
  if (event.target.closest("button, #divide, #notice")) return;
  hands.set(event.pointerId, event);
  if (viewer.classList.contains("zoomed")) viewer.setPointerCapture(event.pointerId);
});
viewer.addEventListener("pointermove", (event) => {
  const old = hands.get(event.pointerId);
  if (!old) return;
  if (hands.size === 2) {
    const [other] = [...hands.values()].filter((hand) => hand.pointerId !== event.pointerId);
    const factor = apart(event, other) / Math.max(1, apart(old, other));
    zoomBy(factor, (event.clientX + other.clientX) / 2, (event.clientY + other.clientY) / 2);
  } else {
    centre[0] -= (event.clientX - old.clientX) / (after.width * scale());
    centre[1] -= (event.clientY - old.clientY) / (after.height * scale());
    place();
  }
  hands.set(event.pointerId, event);
});
for (const end of ["pointerup", "pointercancel", "lostpointercapture"]) {
  viewer.addEventListener(end, (event) => hands.delete(event.pointerId));
}
viewer.addEventListener("dblclick", (event) => {
  if (event.target.closest("button, #notice")) return;
  if (zoom === null) zoomBy(Math.max(1, 2 * fitScale()) / scale(), event.clientX, event.clientY);
  else zoomToFit();
});

const apart = (one, other) => Math.hypot(one.clientX - other.clientX, one.clientY - other.clientY);

new ResizeObserver(place).observe(viewer);

byId("compare").addEventListener("click", () => compare());
byId("zoom-fit").addEventListener("click", zoomToFit);
byId("zoom-full").addEventListener("click", zoomToFull);
byId("zoom-in").addEventListener("click", () => zoomBy(1.25));
byId("zoom-out").addEventListener("click", () => zoomBy(0.8));

const held = byId("hold");
held.addEventListener("pointerdown", (event) => {
  held.setPointerCapture(event.pointerId);
  hold(true);
});
for (const end of ["pointerup", "pointercancel", "blur"]) held.addEventListener(end, () => hold(false));
held.addEventListener("keydown", (event) => {
  if (event.key === " " || event.key === "Enter") {
    event.preventDefault();
    hold(true);
  }
});
held.addEventListener("keyup", () => hold(false));
