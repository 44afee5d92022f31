// What is said after Done: what was saved and where; and at the end, all photos.

import { blob, get } from "./api.js";
import { element } from "./drawing.js";
import { setThumbnail } from "./strip.js";
import { photosLeft } from "./photos.js";
import { state } from "./state.js";

const byId = (id) => document.getElementById(id);

/** Say what was saved; resolves to what the person wants next: the id of a photo, "summary" or null. */
export function sayWhatWasSaved(answer, name) {
  const done = state.session.photos.filter((photo) => photo.status === "done").length;
  const pair = [["Before", 0], ["After", state.photo.steps.length]].map(([label, k]) => {
    const picture = element("img", { alt: "" });
    setThumbnail(k, picture);
    return element("figure", {}, picture, element("figcaption", {}, label));
  });
  const files = answer.saved.map((file) => element("li", {}, element("code", {}, file)));
  const body = [
    element("div", { class: "pair" }, ...pair),
    element("p", {}, "Saved in ", element("code", {}, state.session.output), ":"),
    element("ul", { class: "files" }, ...files),
    element("p", { class: "faint" }, `${done} of ${state.session.photos.length} photos done.`),
  ];
  const next = answer.next ?? photosLeft()[0]?.id ?? null;
  const choices = next === null
    ? [["See all photos", "summary", true]]
    : [["Stay here", null, false], ["Next photo", next, true]];
  return ask(`${name} is done`, body, choices);
}

/** The end: every photo of the session. */
export async function sayGoodbye() {
  const { photos } = state.session;
  const done = photos.filter((photo) => photo.status === "done");
  const failed = photos.filter((photo) => photo.status === "failed");
  const tiles = element("ul", { class: "tiles" });
  const body = [
    element("p", {}, done.length === 1 ? "One photo is" : `${done.length} photos are`, " finished and saved in ",
      element("code", {}, state.session.output), ". You can close this page, add a photo, or look at any of them again."),
    tiles,
  ];
  const names = failed.map((photo) => photo.name).join(", ");
  if (names) body.push(element("p", { class: "faint" }, `Could not be read: ${names}.`));
  const urls = [];
  const answered = ask(done.length ? "That was the last photo" : "No photo could be read", body, [["Close", null, true]]);
  for (const { id, name } of done) {
    const picture = element("img", { alt: "" });
    const caption = element("figcaption", {}, name);
    tiles.append(element("li", {}, element("figure", {}, picture, caption)));
    finished(id).then(({ url, score }) => {
      urls.push(url);
      picture.src = url;
      if (score !== null) caption.append(element("span", { class: "reward" }, ` score ${score.toFixed(2)}`));
    }, () => {});
  }
  await answered;
  urls.forEach((url) => URL.revokeObjectURL(url));
}

async function finished(id) {
  const photo = await get(`/api/photos/${id}`);
  const picture = await blob(`/api/photos/${id}/picture?step=${photo.steps.length}&size=thumb`);
  return { url: URL.createObjectURL(picture), score: photo.score ?? null };
}

function ask(title, body, choices) {
  const dialog = byId("done-dialog");
  byId("done-title").textContent = title;
  byId("done-body").replaceChildren(...body);
  return new Promise((resolve) => {
    let chosen = null;
    byId("done-actions").replaceChildren(...choices.map(([label, value, main]) => element("button", {
      class: main ? "primary" : undefined, autofocus: main, click: () => {
        chosen = value;
        dialog.close();
      },
    }, label)));
    dialog.addEventListener("close", () => resolve(chosen), { once: true });
    dialog.showModal();
    byId("done-actions").querySelector(".primary").focus();
  });
}
