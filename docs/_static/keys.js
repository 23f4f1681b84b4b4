// The theme's menus open by labels, which a keyboard does not reach: here they become buttons.
for (const label of document.querySelectorAll("label[for^='toctree-checkbox'], label[for='__navigation'], label[for='__toc']")) {
  if (label.classList.contains("overlay")) continue;
  label.tabIndex = 0;
  label.setAttribute("role", "button");
  if (!label.textContent.trim()) label.setAttribute("aria-label", "open or close this part of the menu");
  label.addEventListener("keydown", (event) => {
    if (event.key !== "Enter" && event.key !== " ") return;
    event.preventDefault();
    label.click();
  });
}
