// The filter in hand: tabs, sliders with value fields, and the drawing of what they do.

import { clamp, control as controlOf } from "./controls.js";
import { curveLines, element, plot, swatches } from "./drawing.js";

const byId = (id) => document.getElementById(id);
const drawing = byId("drawing");
const controlsBox = byId("controls");
const CHANNELS = { r: "Red", g: "Green", b: "Blue" };

let filter = null;
let parameters = [];
let rows = []; // the sliders shown: {control, index into the parameters, range, field, back, box}
let channel = "r"; // of the colour curves, the one whose sliders are shown
let moved = () => {}; // called with the parameters after each movement

/** Say who hears of movements. */
export function onMove(listener) {
  moved = listener;
}

/** Make the tabs: a button for each filter. */
export function makeTabs(filters, choose) {
  byId("tabs").replaceChildren(...filters.map((each) => {
    const tab = element("button", {
      role: "tab", id: `tab-${each.name}`, "aria-selected": "false", "aria-controls": "filter", tabindex: "-1",
      title: `${each.label} (${each.key})`, click: () => choose(each.name),
    }, element("kbd", { "aria-hidden": "true" }, each.key), element("span", {}, each.label));
    tab.dataset.filter = each.name;
    return tab;
  }));
  byId("tabs").onkeydown = (event) => {
    const step = { ArrowRight: 1, ArrowLeft: -1, ArrowDown: 4, ArrowUp: -4 }[event.key];
    if (step === undefined) return;
    event.preventDefault();
    const tabs = [...byId("tabs").children];
    const next = tabs[(tabs.indexOf(document.activeElement) + step + tabs.length) % tabs.length];
    choose(next.dataset.filter);
    next.focus();
  };
}

/** Mark the filters that were used, so that nobody is surprised by the penalty. */
export function markUsed(names, filters) {
  for (const each of filters) {
    const tab = byId(`tab-${each.name}`);
    tab.classList.toggle("used", names.has(each.name));
    tab.title = `${each.label} (${each.key})${names.has(each.name) ? ", used already" : ""}`;
  }
}

/** Show a filter with these parameters; null shows none. */
export function showFilter(chosen, values) {
  const same = chosen && filter === chosen;
  filter = chosen;
  for (const tab of byId("tabs").children) {
    const selected = tab.dataset.filter === chosen?.name;
    tab.setAttribute("aria-selected", String(selected));
    tab.tabIndex = selected || (!chosen && !tab.previousElementSibling) ? 0 : -1;
  }
  byId("filter").setAttribute("aria-labelledby", chosen ? `tab-${chosen.name}` : "tabs");
  byId("filter").dataset.kind = chosen?.kind ?? "";
  if (!chosen) {
    byId("hint").textContent = "";
    drawing.replaceChildren();
    controlsBox.replaceChildren();
    rows = [];
    return;
  }
  byId("hint").textContent = chosen.hint;
  parameters = [...values];
  const inHand = controlsBox.contains(document.activeElement);
  if (!same) {
    drawing.replaceChildren();
    makeRows();
  }
  fill();
  if (inHand && !same) focusFirst(); // the keyboard goes on where it was
  if (chosen.kind !== "sliders") drawSlopes();
}

/** Draw what the server says the filter does: a curve or swatches. Curve filters are drawn from their sliders. */
export function showCurve(curve) {
  if (!filter || filter.kind !== "sliders" || !curve) return;
  drawing.replaceChildren(curve.kind === "curve" ? plot(curve.points, "rgb", `Curve of ${filter.label}`) : swatches(curve));
}

/** Put every slider back, as one movement. */
export function reset() {
  if (filter) change(filter.parameters.map((parameter) => parameter.neutral));
}

/** Put the keyboard on the first slider. */
export function focusFirst() {
  rows[0]?.range.focus({ preventScroll: true });
}

function change(values) {
  parameters = values;
  fill();
  if (filter.kind !== "sliders") drawSlopes();
  moved([...parameters]);
}

// -- sliders ----------------------------------------------------------------------------------------------------------

function makeRows() {
  const vertical = filter.kind !== "sliders";
  const first = filter.kind === "curves" ? 8 * Object.keys(CHANNELS).indexOf(channel) : 0;
  const shown = filter.parameters.slice(first, vertical ? first + 8 : undefined).map(controlOf);
  rows = shown.map((control, i) => makeRow(control, first + i, vertical, i));
  const box = element("div", { class: vertical ? "slopes" : "sliders" }, ...rows.map((row) => row.box));
  controlsBox.replaceChildren(...(filter.kind === "curves" ? [channelButtons()] : []), box);
}

function makeRow(control, index, vertical, place) {
  const label = vertical ? slopeLabel(place) : control.label;
  const range = element("input", {
    type: "range", min: 0, max: 1, step: "any", "aria-label": label, class: control.name, orient: vertical && "vertical",
  });
  range.dataset.filter = filter.name;
  const field = element("input", {
    type: "text", inputmode: "decimal", autocomplete: "off", "aria-label": `${label}, value`, size: 5,
  });
  const set = (value) => setValue(index, control.within(value));
  range.addEventListener("input", () => set(control.toValue(Number(range.value))));
  range.addEventListener("keydown", (event) => {
    const direction = { ArrowRight: 1, ArrowUp: 1, ArrowLeft: -1, ArrowDown: -1, PageUp: 10, PageDown: -10 }[event.key];
    if (direction === undefined) return;
    event.preventDefault();
    set(control.stepped(parameters[index], direction * (event.shiftKey ? 10 : 1)));
  });
  range.addEventListener("dblclick", () => set(control.neutral));
  const take = () => {
    const value = control.read(field.value);
    if (Number.isFinite(value)) set(value);
    else fill();
  };
  field.addEventListener("change", () => field.value !== control.write(parameters[index]) && take());
  field.addEventListener("keydown", (event) => {
    if (event.key === "ArrowUp" || event.key === "ArrowDown") {
      event.preventDefault();
      set(control.stepped(parameters[index], event.key === "ArrowUp" ? 1 : -1));
    } else if (event.key === "Enter" && field.value !== control.write(parameters[index])) {
      event.preventDefault(); // the first Enter takes the number, the next applies it
      take();
      range.focus();
    } else if (event.key === "Escape") {
      event.preventDefault();
      field.value = control.write(parameters[index]);
      range.focus();
    }
  });
  field.addEventListener("focus", () => field.select());
  const back = element("button", {
    class: "back", "aria-label": `Put ${label} back`, title: "Put back (or double-click the slider)", tabindex: "-1",
    click: () => set(control.neutral),
  }, "↺");
  const box = vertical
    ? element("div", { class: "slope" }, range, field)
    : element("div", { class: "slider" }, quiet("name", control.label),
      element("span", { class: "value" }, field, quiet("unit", control.unit)), back, range);
  return { control, index, range, field, back, box };
}

/** Text that screen readers have elsewhere. */
const quiet = (kind, text) => element("span", { class: kind, "aria-hidden": "true" }, text);

const slopeLabel = (i) => `Slope ${i + 1} of 8, ${i < 3 ? "shadows" : i < 6 ? "mid-tones" : "highlights"}`;

function setValue(index, value) {
  change(parameters.with(index, value));
}

/** Write the parameters into sliders and fields. */
function fill() {
  for (const { control, index, range, field, back } of rows) {
    const value = parameters[index];
    range.value = control.toPosition(value);
    range.setAttribute("aria-valuetext", `${control.write(value)} ${control.unit}`.trim());
    field.value = control.write(value);
    back.disabled = Math.abs(value - control.neutral) < 1e-4;
  }
}

// -- curves -----------------------------------------------------------------------------------------------------------

function channelButtons() {
  const buttons = Object.entries(CHANNELS).map(([name, label]) => {
    const button = element("button", { class: `channel ${name}`, "aria-pressed": String(name === channel) }, label);
    button.addEventListener("click", () => {
      channel = name;
      makeRows();
      fill();
      drawSlopes();
      controlsBox.querySelector(`.channel.${name}`).focus();
    });
    return button;
  });
  return element("div", { class: "channels", role: "group", "aria-label": "Channel" }, ...buttons);
}

/** The curve of the sliders; its pieces can be dragged up and down. */
function drawSlopes() {
  const active = filter.kind === "curves" ? channel : "rgb";
  const made = plot(curveLines(parameters), active, `${filter.label}, as the sliders make it`);
  const old = drawing.querySelector("svg.plot");
  if (old) {
    old.replaceChildren(...made.childNodes); // the same element: a hand may be dragging it
    return;
  }
  made.classList.add("drag");
  made.addEventListener("pointerdown", (event) => drag(made, event));
  drawing.replaceChildren(made);
}

function drag(svg, start) {
  const box = svg.getBoundingClientRect();
  const piece = clamp(Math.floor((8 * (start.clientX - box.x)) / box.width), 0, 7);
  const { control, index } = rows[piece];
  const first = parameters[index];
  svg.setPointerCapture(start.pointerId);
  const move = (event) => {
    const position = control.toPosition(first) + (start.clientY - event.clientY) / box.height;
    setValue(index, control.within(control.toValue(clamp(position, 0, 1))));
  };
  svg.addEventListener("pointermove", move);
  svg.addEventListener("lostpointercapture", () => svg.removeEventListener("pointermove", move), { once: true });
  start.preventDefault();
}
