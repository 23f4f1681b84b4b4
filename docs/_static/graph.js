// A mechanism that is chosen, by pointer or keyboard, shows its own laws beside the tree and marks the mechanisms that they tie to it.
// Without this script its link leads to the same laws in the list below.
const panel = document.querySelector(".chosen-laws"), said = document.getElementById("edge-said");
const nodes = [...document.querySelectorAll(".graph a[data-name]")], laws = [...document.querySelectorAll(".edges .edge")];
const buttons = [...document.querySelectorAll(".families button")];

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
}

function show(family) {
  for (const button of buttons) button.setAttribute("aria-pressed", String(button.dataset.family === family));
  for (const group of document.querySelectorAll("section[data-family]")) group.hidden = family !== "" && group.dataset.family !== family;
}

for (const node of nodes) {
  node.addEventListener("click", (event) => {
    event.preventDefault();
    choose(node.dataset.name);
  });
}
for (const button of buttons) button.addEventListener("click", () => show(button.dataset.family));
panel.hidden = document.querySelector(".families").hidden = false;
