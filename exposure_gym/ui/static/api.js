// The server's answers, and what to do when there are none.
//
// Every request but the page itself carries the token that the server wrote into the page, and the id of the person's
// session. A server that was started again has another token: it is read from the page it sends.

const SESSION = "exposure-gym session";
const RETRY = 1000; // milliseconds between two attempts to reach a server that is gone

let token = document.querySelector('meta[name="exposure-token"]').content;
let gone = null; // while the server is gone: the promise of its return

export const connection = new EventTarget(); // events "gone" and "back"

/** An answer that is not a success. `status` as in HTTP; the message is one line for a person. */
class Refusal extends Error {
  constructor(status, message) {
    super(message);
    this.status = status;
  }
}

/** The server cannot be reached; the request may or may not have been carried out. */
export class Gone extends Error {}

export const user = new URL(location).searchParams.get("user");

export function rememberSession(id) {
  localStorage.setItem(key(), id);
}

export function rememberedSession() {
  return localStorage.getItem(key()) ?? undefined;
}

function key() {
  return user ? `${SESSION} of ${user}` : SESSION;
}

/** GET an object. */
export const get = (path) => send("GET", path).then((answer) => answer.json());

/** POST an object, or a file as it is, and get one. */
export const post = (path, body = {}) => send("POST", path, body).then((answer) => answer.json());

/** GET a picture, as a bitmap ready to be drawn. */
export const bitmap = (path) => blob(path).then(createImageBitmap);

/** GET a file. */
export const blob = (path) => send("GET", path).then((answer) => answer.blob());

/** What a data: URL holds; the page's policy does not let fetch read those. */
export function unpack(url) {
  const [head, text] = url.split(",");
  const bytes = Uint8Array.from(atob(text), (letter) => letter.charCodeAt(0));
  return new Blob([bytes], { type: head.slice(5).split(";")[0] });
}

async function send(method, path, body) {
  let answer = await request(method, path, body);
  if (answer.status === 403 && (await renewToken())) answer = await request(method, path, body);
  if (answer.ok) return answer;
  const said = await answer.json().catch(() => ({}));
  throw new Refusal(answer.status, said.error ?? `The server answered ${answer.status}.`);
}

async function request(method, path, body) {
  const headers = { "X-Exposure-Token": token };
  const session = rememberedSession();
  const opening = method === "POST" && path === "/api/session"; // which says in its body what to resume
  if (session && !opening) headers["X-Exposure-Session"] = session;
  const file = body instanceof Blob;
  if (body !== undefined) headers["Content-Type"] = file ? "application/octet-stream" : "application/json";
  try {
    return await fetch(path, { method, headers, body: file || body === undefined ? body : JSON.stringify(body) });
  } catch (error) {
    gone ??= untilBack();
    throw new Gone(error.message);
  }
}

/** Whether the server has another token than this page. */
async function renewToken() {
  const answer = await fetch("/", { cache: "no-store" });
  const page = new DOMParser().parseFromString(await answer.text(), "text/html");
  const current = page.querySelector('meta[name="exposure-token"]')?.content;
  if (!current || current === token) return false;
  token = current;
  return true;
}

async function untilBack() {
  connection.dispatchEvent(new Event("gone"));
  for (;;) {
    await new Promise((resolve) => setTimeout(resolve, RETRY));
    try {
      await renewToken();
      break;
    } catch {
      // not yet
    }
  }
  gone = null;
  connection.dispatchEvent(new Event("back"));
}
