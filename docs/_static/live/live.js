// Loads Python when the button is pressed; from then on live.py computes every change of the form.
const form = document.getElementById("settings");
const shown = document.getElementById("shown");
const state = document.getElementById("state");
const start = document.getElementById("start");
const here = new URL("_static/", document.baseURI);
let page = null;

function settings() {
  const number = (field) => (field.disabled || field.value === "" ? null : Number(field.value));
  const f = form.elements;
  return { mechanism: f.mechanism.value, sentence: f.sentence.value, heads: Number(f.heads.value), shared: Number(f.shared.value),
           window: number(f.window), softcap: number(f.softcap), causal: f.causal.checked };
}

function enable() {
  const takes = form.elements.mechanism.selectedOptions[0].dataset.takes.split(" ");
  for (const name of ["causal", "window", "softcap"]) form.elements[name].disabled = !takes.includes(name);
}

function say(text, refused = false) {
  state.textContent = text;
  state.classList.toggle("refused", refused);
}

function draw() {
  enable();
  if (!page) return;
  const from = performance.now();
  const answer = JSON.parse(page(JSON.stringify(settings())));
  if (answer.refused) return say("The library refuses these settings: " + answer.refused, true);
  shown.innerHTML = answer.html;
  window.numbers = answer.numbers;
  say(`Computed here in ${Math.round(performance.now() - from)} ms.` + (answer.cut ? ` ${answer.cut}` : ""));
}

async function load() {
  start.disabled = true;
  say("Loading Python and NumPy ...");
  try {
    const script = document.createElement("script");
    script.src = new URL("pyodide/pyodide.js", here);
    await new Promise((done, failed) => { script.onload = done; script.onerror = () => failed(new Error("this site was built without the runtime")); document.head.append(script); });
    const python = await loadPyodide({ indexURL: new URL("pyodide/", here).href });
    await python.loadPackage("numpy", { messageCallback: () => {} });
    const wheel = await fetch(new URL("wheel/" + form.dataset.wheel, here));
    python.unpackArchive(await wheel.arrayBuffer(), "wheel");
    python.FS.writeFile("live.py", await (await fetch(new URL("live/live.py", here))).text());
    page = python.pyimport("live").page;
    start.remove();
    draw();
  } catch (error) {
    start.disabled = false;
    say("Python could not be loaded: " + error.message, true);
  }
}

start.addEventListener("click", load);
form.addEventListener("input", draw);
form.addEventListener("submit", (event) => event.preventDefault());
enable();
