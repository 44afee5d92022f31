// What a person moves: a control is a slider with a position between 0 and 1, a value in a unit that a person can read,
// and where it changes nothing.

const UNITS = { ev: "EV", percent: "%" };

/**
 * A parameter of a filter, as the server describes it, as a control.
 *
 * `toValue` and `toPosition` go from the slider to the value and back, `write` and `read` from the value to text and
 * back, `within` keeps a value in its range, `stepped` is the value some small steps further.
 */
export function control(parameter) {
  const { low, high, format } = parameter;
  const logarithmic = parameter.scale === "log";
  // A gamma below 1 brightens: its slider runs the other way, so that right is brighter as everywhere else.
  const [left, right] = format === "power" ? [high, low] : [low, high];
  const toValue = logarithmic
    ? (position) => left * (right / left) ** position
    : (position) => left + position * (right - left);
  const toPosition = logarithmic
    ? (value) => clamp(Math.log(value / left) / Math.log(right / left), 0, 1)
    : (value) => clamp((value - left) / (right - left), 0, 1);
  const within = (value) => clamp(value, low, high);
  const step = parameter.step ?? (high - low) / 100;
  return {
    ...parameter,
    toValue,
    toPosition,
    within,
    stepped: (value, count) =>
      within(logarithmic ? toValue(clamp(toPosition(value) + count / 100, 0, 1)) : Math.round(value / step + count) * step),
    unit: UNITS[format] ?? parameter.unit,
    write: (value) => written(parameter, value),
    read: (text) => (format === "percent" ? number(text) / 100 : number(text)),
  };
}

function written({ format, low, step }, value) {
  if (format === "power") return value < 1 ? `1/${(1 / value).toFixed(2)}` : value.toFixed(2);
  if (format === "percent") return signed(100 * value, 0, low < 0);
  return signed(value, step < 0.01 ? 3 : 2, low < 0);
}

function signed(value, digits, withSign) {
  const text = Math.abs(value).toFixed(digits);
  const zero = Number(text) === 0;
  return (zero ? "" : value < 0 ? "−" : withSign ? "+" : "") + text;
}

/** A number as people type one: "1/2.2", "+0,5", "−1", "30 %"; NaN when it is none. */
export function number(text) {
  const plain = text.trim().replace(/[−–]/g, "-").replace(",", ".").replace(/\s*(%|EV)$/i, "");
  const [over, under = "1"] = plain.split("/");
  return over.trim() === "" ? NaN : Number(over) / Number(under);
}

export const clamp = (value, low, high) => Math.min(high, Math.max(low, value));

/** Whether parameters change nothing. The slopes of a curve count relative to each other. */
export function isNeutral(filter, parameters) {
  const near = (value, i) => Math.abs(value - filter.parameters[i].neutral) < 1e-4;
  if (filter.kind === "sliders") return parameters.every(near);
  return curvesOf(parameters).every((slopes) => slopes.every((slope) => Math.abs(slope - slopes[0]) < 1e-6));
}

/** The slopes of each curve: one list of eight, or three. */
export function curvesOf(parameters) {
  return Array.from({ length: parameters.length / 8 }, (_, i) => parameters.slice(8 * i, 8 * i + 8));
}

/** The nine knots of a curve with these slopes, from (0, 0) to (1, 1). */
export function knots(slopes) {
  const total = slopes.reduce((sum, slope) => sum + slope, 0);
  let height = 0;
  return [[0, 0], ...slopes.map((slope, i) => [(i + 1) / 8, (height += slope / total)])];
}

export const neutralOf = (filter) => filter.parameters.map((parameter) => parameter.neutral);
