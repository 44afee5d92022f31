// What the page says to a person: a line by the buttons, a note on the photo, a banner over everything.

import { element } from "./drawing.js";

const byId = (id) => document.getElementById(id);

/** One line by the buttons; screen readers read it. */
export function say(text) {
  byId("message").textContent = text;
}

/** A photo is on its way, and which; null when it can be seen. It shows only when that takes a while. */
export function opening(name) {
  byId("opening").hidden = name === null;
  if (name !== null) byId("opening").querySelector("b").textContent = `Opening ${name} …`;
  else byId("opening").querySelector("span").hidden = true; // of the first photo alone
}

/** A note in the place of the photo, perhaps with a button: [label, what it does]. Without a title it goes away. */
export function notice(title, text = "", action = null) {
  byId("notice").hidden = !title;
  if (!title) return;
  opening(null);
  const button = action ? [element("button", { class: "primary", click: action[1] }, action[0])] : [];
  byId("notice").replaceChildren(element("h2", {}, title), element("p", {}, text), ...button);
}

/** A banner over the page, as long as something is wrong with all of it. */
export function banner(text) {
  byId("banner").hidden = !text;
  byId("banner").textContent = text ?? "";
}
