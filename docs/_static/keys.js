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

// A long name in a table may break after a dot or an underscore, and nowhere else.
for (const code of document.querySelectorAll("table.docutils td code")) {
  const walk = document.createTreeWalker(code, NodeFilter.SHOW_TEXT), texts = [];
  while (walk.nextNode()) texts.push(walk.currentNode);
  for (const text of texts) {
    const parts = text.data.split(/(?<=[._(,])(?=\w)/);
    text.replaceWith(...parts.flatMap((part, at) => (at ? [document.createElement("wbr"), part] : [part])));
  }
}
