// Photos that a person brings: by the button, or dropped anywhere on the page.

const byId = (id) => document.getElementById(id);

/** Call `add` with the files of each time. */
export function acceptFiles(add) {
  byId("add-photo").addEventListener("click", () => byId("upload").click());
  byId("upload").addEventListener("change", () => {
    const files = [...byId("upload").files];
    byId("upload").value = "";
    if (files.length) add(files);
  });
  let inside = 0; // elements under the hand: entering one comes before leaving the other
  const carriesFiles = (event) => event.dataTransfer?.types.includes("Files");
  const cover = (change) => {
    inside = Math.max(0, inside + change);
    byId("drop").hidden = inside === 0;
  };
  document.addEventListener("dragenter", (event) => carriesFiles(event) && cover(1));
  document.addEventListener("dragleave", (event) => carriesFiles(event) && cover(-1));
  document.addEventListener("dragover", (event) => carriesFiles(event) && event.preventDefault());
  document.addEventListener("drop", (event) => {
    if (!carriesFiles(event)) return;
    event.preventDefault();
    inside = 0;
    cover(0);
    if (event.dataTransfer.files.length) add([...event.dataTransfer.files]);
  });
}
