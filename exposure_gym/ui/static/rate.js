// A rating session: asks the server what to show, shows it, and sends each judgement at once.

const $ = (id) => document.getElementById(id);
const token = document.querySelector("meta[name=exposure-token]").content;
const NAME = "exposure-gym rater", RELOADED = "exposure-gym reloaded";
const STARS = [1, 2, 3, 4, 5];

let study; // {method, rater, photos}
let rater; // number
let trial; // what is on the page
let leftOut = 0; // trials that cannot be shown
let shots = []; // addresses of its pictures
let current = 0; // the picture that keys speak of
let drawn = 0; // when the page showed it, in milliseconds
let retry = null; // what "Try again" does
const ready = new Map(); // pictures of trials, by place: promises of lists of addresses

// -- the server -------------------------------------------------------------------------------------------------------

class Refused extends Error {}

async function ask(path, body) {
  const headers = { "X-Exposure-Token": token };
  let answer;
  try {
    answer = body === undefined
      ? await fetch(path, { headers, cache: "no-store" })
      : await fetch(path, {
          method: "POST", headers: { ...headers, "Content-Type": "application/json" }, body: JSON.stringify(body),
        });
  } catch {
    throw new Error("The server does not answer. Start it again; what was judged before is stored.");
  }
  if (answer.status === 403 && Date.now() - Number(sessionStorage.getItem(RELOADED)) > 5000) {
    sessionStorage.setItem(RELOADED, Date.now()); // it was started anew, and knows this page no more
    location.reload();
    await new Promise(() => {});
  }
  if (answer.ok) return answer;
  const said = await answer.json().catch(() => ({}));
  const error = new (answer.status === 422 ? Refused : Error)(said.error || `The server answered ${answer.status}.`);
  throw Object.assign(error, { said });
}

const json = async (path, body) => (await ask(path, body)).json();

function complain(error, again) {
  $("message").firstElementChild.textContent = error.message;
  $("message").hidden = false;
  $("again").hidden = !again;
  retry = again;
}

// One action after the other, so that fast keys are not judged out of order.
let queue = Promise.resolve(), busy = 0;
function act(action) {
  busy++;
  $("main").ariaBusy = true;
  queue = queue.then(async () => {
    try {
      await action();
    } catch (error) {
      complain(error, () => act(action));
    } finally {
      busy--;
      $("main").ariaBusy = busy > 0;
    }
  });
  return queue;
}

$("again").onclick = () => {
  $("message").hidden = true;
  if (retry) retry();
};

// -- the session ------------------------------------------------------------------------------------------------------

async function start() {
  study = await json("/api/study");
  const name = study.rater ?? localStorage.getItem(NAME);
  if (name) await join(name);
  else show("join");
}

async function join(name) {
  const session = await json("/api/raters", { name });
  localStorage.setItem(NAME, name);
  $("other").textContent = `Not ${name}?`;
  $("other").hidden = study.rater !== null;
  rater = session.rater;
  await open(session.next);
}

$("join").onsubmit = (event) => {
  event.preventDefault();
  act(() => join($("name").value.trim()));
};

$("other").onclick = () => {
  localStorage.removeItem(NAME);
  location.reload();
};

const address = (place) => `/api/raters/${rater}/trials/${place}`;

async function open(place) {
  while (place !== null) {
    try {
      const next = await json(address(place));
      const pictures = await load(next);
      forget(place, next.next);
      trial = next;
      shots = pictures;
      draw();
      if (trial.next !== null && trial.next !== place) prefetch(trial.next);
      return;
    } catch (error) {
      if (!(error instanceof Refused)) throw error;
      leftOut = error.said.left_out;
      place = error.said.next;
    }
  }
  if (!trial && leftOut) throw new Error("No photo can be shown. What is wrong is told where the server runs.");
  progress();
  show("thanks");
  $("look-back").hidden = !trial;
  $("title").focus();
}

function load({ place, count }) {
  if (!ready.has(place)) {
    const pictures = Promise.all(Array.from({ length: count }, async (_, slot) =>
      URL.createObjectURL(await (await ask(`${address(place)}/pictures/${slot}`)).blob())));
    pictures.catch(() => ready.delete(place));
    ready.set(place, pictures);
  }
  return ready.get(place);
}

function prefetch(place) {
  json(address(place)).then(load).catch(() => {}); // what is wrong with it is said when it is opened
}

function forget(...kept) {
  for (const [place, pictures] of ready) {
    if (kept.includes(place)) continue;
    ready.delete(place);
    pictures.then((list) => list.forEach((shot) => URL.revokeObjectURL(shot))).catch(() => {});
  }
}

async function judge(slot, stars) {
  const body = stars === undefined ? { slot } : { slot, stars };
  trial = await json(`${address(trial.place)}/judgements`, body);
  $("message").hidden = true;
  mark();
}

// Gives a picture stars.
const rate = (slot, stars) => act(() => judge((current = slot), stars));

// The same by key: for the picture that is current when those before have been stored, and then comes the next one.
function rateCurrent(stars) {
  return act(async () => {
    const slot = current;
    await judge(slot, stars);
    const left = trial.stars.findIndex((given, i) => given === null && i > slot);
    const any = left >= 0 ? left : trial.stars.indexOf(null);
    if (any < 0 && !$("large").open) $("next").focus();
    else if (any >= 0) go(any);
  });
}

function choose(slot) {
  if (busy || performance.now() - drawn < 300) return; // a second press was not meant for a pair nobody has seen yet
  act(async () => {
    await judge(slot);
    await open(trial.next);
  });
}

// -- the page ---------------------------------------------------------------------------------------------------------

const pairs = () => study.method === "pairs";
const name = (slot) => String.fromCharCode(65 + slot);

function show(part) {
  for (const id of ["join", "trial", "thanks"]) $(id).hidden = id !== part;
  if ($("large").open) $("large").close();
  if (part === "join") $("name").focus();
}

function progress() {
  if (!trial) return;
  const missing = leftOut ? `, ${leftOut} cannot be shown` : "";
  $("progress").textContent = `${trial.judged} of ${trial.total} judged${missing}`;
  $("bar").hidden = false;
  $("bar").max = trial.total;
  $("bar").value = trial.judged;
}

function element(kind, properties, ...children) {
  const made = Object.assign(document.createElement(kind), properties);
  made.append(...children);
  return made;
}

function draw() {
  $("question").textContent = pairs() ? "Which picture is better?" : "How good is each picture?";
  $("hint").textContent = pairs()
    ? "Keys: ← and → choose, Backspace goes back"
    : "Keys: 1 to 5 give stars, ← and → move, Enter enlarges or goes on";
  $("pictures").replaceChildren(...shots.map((shot, slot) => {
    const image = element("img", { src: shot, alt: `Picture ${name(slot)}`, draggable: false });
    const enlarge = element("button", { type: "button", className: "picture", onclick: () => enlarged(slot) }, image);
    enlarge.setAttribute("aria-label", `Picture ${name(slot)}: enlarge`);
    enlarge.onfocus = () => (current = slot);
    const group = element("div", { className: "judge" }, ...(pairs() ? [preference(slot)] : stars(slot)));
    group.setAttribute("role", "group");
    group.setAttribute("aria-label", `Picture ${name(slot)}`);
    return element("figure", { className: "result" }, enlarge, group);
  }));
  show("trial");
  arrange();
  shotsDecoded().then(arrange);
  mark();
  $("next").classList.toggle("strong", !pairs());
  if (pairs()) $("question").focus();
  else go(Math.max(trial.stars.indexOf(null), 0));
  drawn = performance.now();
}

function stars(slot) {
  return [
    element("b", { textContent: name(slot) }),
    ...STARS.map((count) => {
      const star = element("button", { type: "button", className: "star", textContent: "★" });
      star.setAttribute("aria-label", count === 1 ? "1 star" : `${count} stars`);
      star.onclick = () => rate(slot, count);
      return star;
    }),
  ];
}

function preference(slot) {
  const button = element("button", { type: "button", className: "choose", textContent: `${name(slot)} is better` });
  button.onclick = () => choose(slot);
  return button;
}

// Shows what was judged.
function mark() {
  [...$("pictures").children].forEach((figure, slot) => {
    if (pairs()) {
      figure.querySelector(".choose").setAttribute("aria-pressed", trial.preferred === slot);
    } else {
      figure.querySelectorAll(".star").forEach((star, i) => {
        star.classList.toggle("lit", i < trial.stars[slot]);
        star.setAttribute("aria-pressed", i + 1 === trial.stars[slot]);
      });
    }
  });
  $("next").disabled = pairs() ? trial.next === trial.place : trial.stars.includes(null);
  $("next").textContent = !pairs() ? "Next photo" : trial.preferred === null ? "Skip for now" : "Next pair";
  $("back").disabled = trial.previous === null;
  leftOut = trial.left_out;
  progress();
  if ($("large").open) label();
}

function go(slot) {
  current = (slot + trial.count) % trial.count;
  if ($("large").open) enlarged(current);
  else $("pictures").children[current].querySelector(".picture").focus({ preventScroll: !narrow.matches });
}

$("back").onclick = () => act(() => open(trial.previous));
$("next").onclick = () => act(() => open(trial.next));
$("look-back").onclick = () => act(() => open(trial.place));

// -- the arrangement: as many columns as make the pictures largest ----------------------------------------------------

const narrow = matchMedia("(max-width: 40rem)");
const images = () => [...$("pictures").querySelectorAll("img")];
const shotsDecoded = () => Promise.allSettled(images().map((image) => image.decode()));

function arrange() {
  if ($("trial").hidden) return;
  const ratios = images().filter((image) => image.naturalHeight).map((image) => image.naturalWidth / image.naturalHeight);
  const ratio = ratios.length ? Math.max(...ratios) : 1.5;
  const count = images().length, width = $("pictures").clientWidth;
  const edges = $("trial").getBoundingClientRect().top + $("question").offsetHeight + $("back").offsetHeight + 48;
  const height = Math.max(innerHeight - edges, 240);
  let best = { size: 0 };
  for (let columns = 1; columns <= count; columns++) {
    const rows = Math.ceil(count / columns);
    const across = (width - 12 * (columns - 1)) / columns - 18, down = (height - 12 * (rows - 1)) / rows - 78;
    const size = Math.min(across, down * ratio);
    if (size > best.size) best = { size, columns, down: Math.min(down, across / Math.min(...ratios, ratio)) };
  }
  const style = $("pictures").style;
  style.setProperty("--columns", narrow.matches ? 1 : best.columns ?? 1);
  style.setProperty("--height", `${Math.max(best.down ?? 0, 120)}px`);
}
addEventListener("resize", arrange);

// -- one picture, large: the arrows change it in place ----------------------------------------------------------------

function enlarged(slot) {
  current = slot;
  $("large-picture").replaceChildren(element("img", { src: shots[slot], alt: `Picture ${name(slot)}` }));
  if (!$("large").open) $("large").showModal();
  label();
}

function label() {
  const given = pairs() ? (trial.preferred === current ? "better" : "") : "★".repeat(trial.stars[current] ?? 0);
  $("large-name").textContent = `${name(current)} ${given}`.trim();
}

$("large-previous").onclick = () => go(current - 1);
$("large-next").onclick = () => go(current + 1);
$("large-close").onclick = $("large-picture").onclick = () => $("large").close();
$("large").onclose = () => {
  if (!$("trial").hidden) go(current);
};

// -- keys -------------------------------------------------------------------------------------------------------------

addEventListener("keydown", (event) => {
  if ($("trial").hidden || event.ctrlKey || event.altKey || event.metaKey) return;
  const step = { ArrowLeft: -1, ArrowUp: -1, ArrowRight: 1, ArrowDown: 1 }[event.key];
  const stars = STARS.find((count) => String(count) === event.key);
  if (step && pairs() && !$("large").open) {
    if (event.repeat || !["ArrowLeft", "ArrowRight"].includes(event.key)) return;
    choose(step < 0 ? 0 : 1);
  } else if (step) go(current + step);
  else if (stars && !pairs() && !event.repeat) rateCurrent(stars);
  else if (event.key === "Backspace" && !$("large").open && !$("back").disabled) $("back").click();
  else return;
  event.preventDefault();
});

act(start);
