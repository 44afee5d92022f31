// The keyboard: one table, which is also the help.

import { element } from "./drawing.js";

/** Keys that act anywhere, except while text is typed or a dialog is open. */
const KEYS = [
  { keys: ["Enter"], shown: "Enter", what: "Apply the filter: one step", command: "apply" },
  { keys: ["1", "2", "3", "4", "5", "6", "7", "8"], shown: "1 … 8", what: "Choose a filter", command: "choose" },
  { keys: [], shown: "← →", what: "On a slider: a little less, a little more (Page keys: ten times)" },
  { keys: ["r"], shown: "R", what: "Put the filter back to neutral", command: "reset" },
  { keys: ["z", "u", "ctrl z"], shown: "Z  or  U", what: "Undo", command: "undo" },
  { keys: ["shift z", "ctrl shift z", "ctrl y"], shown: "Shift Z", what: "Redo", command: "redo" },
  { keys: ["Delete"], shown: "Delete", what: "Remove the step that is being changed", command: "remove" },
  { keys: ["Escape"], shown: "Esc", what: "Let go of a change or a suggestion", command: "cancel" },
  { keys: ["a"], shown: "A", what: "Ask the agent for the next step", command: "ask" },
  { keys: ["f"], shown: "F", what: "Let the agent finish", command: "finish" },
  { keys: ["w"], shown: "W", what: "See five ways to finish", command: "ways" },
  { keys: ["d"], shown: "D", what: "Done: save the photo", command: "done" },
  { keys: ["b"], shown: "B", what: "Hold: see the photo before", command: "hold" },
  { keys: ["c"], shown: "C", what: "Divide between before and after", command: "compare" },
  { keys: ["+", "="], shown: "+", what: "Closer (also the wheel; drag to move)", command: "closer" },
  { keys: ["-"], shown: "−", what: "Further", command: "further" },
  { keys: ["0"], shown: "0", what: "The whole photo", command: "fit" },
  { keys: ["n", "PageDown"], shown: "N", what: "Next photo", command: "next" },
  { keys: ["p", "PageUp"], shown: "P", what: "Previous photo", command: "previous" },
  { keys: ["?"], shown: "?", what: "This help", command: "help" },
];

/** Listen; `commands` has a function for each command of the table. */
export function listen(commands) {
  const table = new Map(KEYS.flatMap(({ keys, command }) => keys.map((key) => [key, command])));
  document.addEventListener("keydown", (event) => {
    if (event.defaultPrevented || document.querySelector("dialog[open]")) return;
    const command = table.get(spelled(event));
    if (!command || isTyping(event.target, event) || (event.repeat && !["closer", "further"].includes(command))) return;
    event.preventDefault();
    commands[command](event.key);
  });
  document.addEventListener("keyup", (event) => {
    if (event.key.toLowerCase() === "b") commands.release();
  });
  window.addEventListener("blur", () => commands.release());
}

function spelled(event) {
  if (event.altKey) return "";
  const control = event.ctrlKey || event.metaKey ? "ctrl " : "";
  const letter = event.key.length === 1 && event.key.toLowerCase() !== event.key.toUpperCase();
  const shift = event.shiftKey && letter ? "shift " : "";
  return control + shift + (letter ? event.key.toLowerCase() : event.key);
}

/** Whether the key belongs to what has the focus: text, a list, a button that is pressed with Enter. */
function isTyping(target, event) {
  if (target.matches("select")) return !["Escape", "?"].includes(event.key);
  if (target.matches('input[type="text"]')) return !["Enter", "Escape"].includes(event.key);
  return event.key === "Enter" && target.matches('button, a, summary, input[type="checkbox"]');
}

/** Write the table into the help. */
export function writeHelp() {
  const rows = KEYS.flatMap(({ shown, what }) => [
    element("dt", {}, ...shown.split("  ").map((part) => (part === "or" ? " or " : element("kbd", {}, part)))),
    element("dd", {}, what),
  ]);
  document.getElementById("keys").replaceChildren(...rows);
}
