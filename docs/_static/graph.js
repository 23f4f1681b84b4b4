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
