// The small pictures: histogram, curve, swatches. Drawn with canvas and SVG from numbers alone.

import { curvesOf, knots } from "./controls.js";

const SVG = "http://www.w3.org/2000/svg";

/** An HTML element with properties, and children that are elements or text. */
export function element(tag, properties = {}, ...children) {
  return filled(document.createElement(tag), properties, children);
}

/** An SVG element. */
function shape(tag, attributes = {}, ...children) {
  return filled(document.createElementNS(SVG, tag), attributes, children);
}

function filled(made, attributes, children) {
  for (const [name, value] of Object.entries(attributes)) {
    if (typeof value === "function") made.addEventListener(name, value);
    else if (value === true) made.setAttribute(name, "");
    else if (value !== false && value !== undefined && value !== null) made.setAttribute(name, value);
  }
  made.append(...children.filter((child) => child !== null && child !== undefined));
  return made;
}

/** Three overlaid histograms; where all meet it is grey. The first and last bin do not set the scale. */
export function drawHistogram(canvas, { r, g, b }) {
  const scale = devicePixelRatio || 1;
  const width = (canvas.width = Math.round(canvas.clientWidth * scale));
  const height = (canvas.height = Math.round(canvas.clientHeight * scale));
  const ink = canvas.getContext("2d");
  ink.clearRect(0, 0, width, height);
  ink.strokeStyle = "#4a4a4a";
  for (let quarter = 1; quarter < 4; quarter++) {
    const x = Math.round((width * quarter) / 4) + 0.5;
    ink.beginPath();
    ink.moveTo(x, 0);
    ink.lineTo(x, height);
    ink.stroke();
  }
  const inner = [r, g, b].flatMap((bins) => bins.slice(1, -1));
  const top = Math.max(1e-9, ...inner);
  ink.globalCompositeOperation = "screen";
  for (const [bins, colour] of [[r, "#b85050"], [g, "#50b850"], [b, "#5050b8"]]) {
    ink.fillStyle = colour;
    ink.beginPath();
    ink.moveTo(0, height);
    bins.forEach((count, i) => {
      const y = height - (height - 2) * Math.min(1, Math.sqrt(count / top));
      ink.lineTo((width * i) / bins.length, y);
      ink.lineTo((width * (i + 1)) / bins.length, y);
    });
    ink.lineTo(width, height);
    ink.fill();
  }
  ink.globalCompositeOperation = "source-over";
}

const COLOURS = { rgb: "#e8e8e8", r: "#f08080", g: "#7fcf7f", b: "#8fa8ff" };

/** A curve plot, 0 to 1 both ways; `lines` are points by channel, `active` the one that is drawn boldly. */
export function plot(lines, active, label) {
  const drawing = picture("plot", "0 0 100 100", label);
  for (let i = 1; i < 8; i++) {
    const at = 12.5 * i;
    const kind = i % 2 ? "grid" : "grid strong";
    drawing.append(shape("path", { class: kind, d: `M${at} 0V100M0 ${at}H100` }));
  }
  drawing.append(shape("path", { class: "grid strong", d: "M0 100L100 0" }));
  const names = Object.keys(lines).sort((a, b) => (a === active) - (b === active));
  for (const name of names) {
    const way = lines[name].map(([x, y]) => `${100 * x} ${100 - 100 * Math.min(1, Math.max(0, y))}`).join("L");
    const kind = name === active || name === "rgb" ? "line active" : "line";
    drawing.append(shape("path", { class: kind, d: `M${way}`, stroke: COLOURS[name] }));
  }
  return drawing;
}

/** The curves that slopes make, by channel. */
export function curveLines(parameters) {
  const curves = curvesOf(parameters);
  const names = curves.length === 1 ? ["rgb"] : ["r", "g", "b"];
  return Object.fromEntries(curves.map((slopes, i) => [names[i], knots(slopes)]));
}

/** Colours before, above, and after, below. */
export function swatches({ before, after }) {
  const row = (colours, y) =>
    colours.map((colour, i) => shape("rect", { x: i, y, width: 1.01, height: 1.02, fill: colour }));
  const label = "Some colours before, above, and after, below";
  const drawing = picture("swatches", `0 0 ${before.length} 2`, label);
  drawing.append(...row(before, 0), ...row(after, 1));
  return drawing;
}

/** An SVG that fills its place, whatever its shape. */
const picture = (kind, viewBox, label) =>
  shape("svg", { viewBox, preserveAspectRatio: "none", class: kind, role: "img", "aria-label": label });
