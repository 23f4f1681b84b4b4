// An arc that is chosen, by pointer or keyboard, is read out below the graph; without this script it leads to the law in the list.
const said = document.getElementById("edge-said");
for (const edge of document.querySelectorAll(".graph .edge")) {
  edge.addEventListener("click", (event) => {
    event.preventDefault();
    document.querySelector(".graph .chosen")?.classList.remove("chosen");
    edge.classList.add("chosen");
    said.innerHTML = document.getElementById("edge-" + edge.dataset.edge).innerHTML;
  });
}
// A mechanism that is pointed at, or reached by keyboard, shows its own arcs and dims the others.
const graph = document.querySelector(".graph");
function light(place) {
  graph.classList.toggle("dimmed", place !== null);
  for (const edge of graph.querySelectorAll(".edge")) edge.classList.toggle("lit", edge.dataset.ends.split(" ").includes(place));
}
for (const node of graph.querySelectorAll(".node")) {
  for (const kind of ["pointerenter", "focus"]) node.addEventListener(kind, () => light(node.dataset.place));
  for (const kind of ["pointerleave", "blur"]) node.addEventListener(kind, () => light(null));
}
