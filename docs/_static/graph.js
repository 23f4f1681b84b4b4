// A mechanism that is chosen, by pointer, keyboard or from the list, shows its own laws beside the tree and marks the mechanisms that they
// tie to it. Without this script its link leads to the same laws in the list below.
const graph = document.querySelector(".graph"), panel = document.querySelector(".chosen-laws"), said = document.getElementById("edge-said");
const nodes = [...graph.querySelectorAll("a[data-name]")], laws = [...document.querySelectorAll(".edges .edge")];
const trees = [...graph.querySelectorAll("details")], buttons = [...document.querySelectorAll(".families button")];
const list = document.querySelector(".focus select"), only = document.querySelector(".focus button");
const narrow = matchMedia("(max-width: 46em)");

function choose(name) {
  const own = laws.filter((law) => law.dataset.ends.split(" ").includes(name));
  const tied = new Set(own.flatMap((law) => law.dataset.ends.split(" ")));
  for (const node of nodes) {
    if (node.dataset.name === name) node.setAttribute("aria-current", "true");
    else node.removeAttribute("aria-current");
    node.classList.toggle("tied", node.dataset.name !== name && tied.has(node.dataset.name));
  }
  const page = document.createElement("a");
  page.href = `mechanisms/${name}.html`;
  page.textContent = name;
  const count = own.length === 1 ? "1 law ties" : `${own.length || "No"} laws tie`;
  said.replaceChildren(page, own.length ? `: ${count} it to ${tied.size - 1} other mechanism${tied.size === 2 ? "" : "s"}.` : ": no law ties it to another mechanism.");
  panel.querySelector("ul").replaceChildren(...own.map((law) => {
    const copy = law.cloneNode(true);
    copy.removeAttribute("id");
    return copy;
  }));
  panel.scrollTop = 0;
  list.value = name;
  only.disabled = false;
}

function show(family) {
  for (const button of buttons) button.setAttribute("aria-pressed", String(button.dataset.family === family));
  for (const group of document.querySelectorAll("details[data-family]")) group.hidden = family !== "" && group.dataset.family !== family;
}

function alone(yes) {
  only.setAttribute("aria-pressed", String(yes));
  graph.classList.toggle("only", yes);
  if (yes) {
    show("");
    for (const tree of trees) tree.open = true;
  }
}

// Opens what is folded around an element, and brings the element into view.
function unfold(element) {
  for (let at = element.closest("details"); at; at = at.parentElement.closest("details")) at.open = true;
  element.scrollIntoView({ block: "nearest" });
}

function named() {
  const target = location.hash && document.getElementById(decodeURIComponent(location.hash.slice(1)));
  if (target && target.closest("details")) unfold(target);
}

for (const node of nodes) {
  node.addEventListener("click", (event) => {
    event.preventDefault();
    choose(node.dataset.name);
  });
}
for (const button of buttons) button.addEventListener("click", () => show(button.dataset.family));
list.addEventListener("change", () => {
  if (!list.value) return;
  show("");
  choose(list.value);
  unfold(graph.querySelector("a[aria-current].node"));
});
only.addEventListener("click", () => alone(only.getAttribute("aria-pressed") === "false"));
addEventListener("hashchange", named);
if (narrow.matches) for (const tree of trees) tree.open = false;
panel.hidden = document.querySelector(".families").hidden = document.querySelector(".focus").hidden = false;
named();
