// Returns the texts of the page whose contrast with what is behind them is below 4.5, as [ratio, colours, text].
() => {
  const parse = (colour) => { const n = colour.match(/[\d.]+/g).map(Number); return n.length < 4 ? [...n, 1] : n; };
  const over = (top, under) => [0, 1, 2].map((i) => top[i] * top[3] + under[i] * (1 - top[3])).concat(1);
  const light = ([r, g, b]) => {
    const [x, y, z] = [r, g, b].map((c) => (c / 255 <= 0.04045 ? c / 255 / 12.92 : ((c / 255 + 0.055) / 1.055) ** 2.4));
    return 0.2126 * x + 0.7152 * y + 0.0722 * z;
  };
  const behind = (element) => {
    const layers = [];
    for (let at = element; at; at = at.parentElement) layers.push(parse(getComputedStyle(at).backgroundColor));
    return layers.reverse().reduce((under, top) => over(top, under), [255, 255, 255, 1]);
  };
  const found = new Map();
  const walk = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
  while (walk.nextNode()) {
    const text = walk.currentNode.textContent.trim(), element = walk.currentNode.parentElement;
    if (!text || /^(SCRIPT|STYLE|NOSCRIPT|TITLE|OPTION)$/i.test(element.tagName) || element.closest("[disabled], .visually-hidden, mjx-container")) continue;
    if (!element.checkVisibility({ opacityProperty: true, visibilityProperty: true }) || !element.getClientRects().length) continue;
    const style = getComputedStyle(element), ground = behind(element);
    const ink = parse(element.closest("svg") ? style.fill : style.color);
    ink[3] *= Number(style.opacity);
    const [a, b] = [light(over(ink, ground)), light(ground)];
    const ratio = (Math.max(a, b) + 0.05) / (Math.min(a, b) + 0.05);
    const key = style.color + ground.join();
    if (ratio < 4.5 && !found.has(key)) found.set(key, [ratio.toFixed(2), `${ink.join(" ")} on ${ground.join(" ")}`, `${element.tagName}.${element.className?.baseVal ?? element.className}: ${text.slice(0, 40)}`]);
  }
  return [...found.values()];
}
