// @ts-check
/**
 * A model's card, in the little Markdown that cards have: headings, paragraphs, lists, tables, `code` and **bold**.
 * @module
 */

/**
 * The card as elements, its title left out.
 * @param {string} markdown
 * @returns {HTMLElement[]}
 */
export function card(markdown) {
  const text = markdown.replace(/<!--.*?-->/g, "").replace(/^# .*$/m, "");
  return text
    .split(/\n\s*\n/)
    .map((block) => block.trim())
    .filter(Boolean)
    .map(element);
}

/**
 * @param {string} block
 * @returns {HTMLElement}
 */
function element(block) {
  const lines = block.split("\n");
  if (block.startsWith("## ")) return filled("h3", block.slice(3));
  if (lines.every((line) => line.startsWith("- "))) return holding("ul", lines.map((line) => filled("li", line.slice(2))));
  if (block.startsWith("|")) {
    const rows = lines.filter((_, i) => i !== 1).map((line) => line.slice(1, -1).split("|"));
    const made = rows.map((cells, i) => holding("tr", cells.map((cell) => filled(i ? "td" : "th", cell.trim()))));
    return holding("table", [holding("thead", made.slice(0, 1)), holding("tbody", made.slice(1))]);
  }
  return filled("p", lines.join(" "));
}

/**
 * @param {string} tag
 * @param {HTMLElement[]} children
 */
function holding(tag, children) {
  const made = document.createElement(tag);
  made.append(...children);
  return made;
}

/**
 * @param {string} tag
 * @param {string} text With `code` and **bold**.
 */
function filled(tag, text) {
  const made = document.createElement(tag);
  for (const part of text.split(/(`[^`]+`|\*\*[^*]+\*\*)/)) {
    const inner = part.startsWith("`") ? "code" : part.startsWith("**") ? "strong" : "";
    const marks = inner === "code" ? 1 : 2;
    made.append(inner ? Object.assign(document.createElement(inner), { textContent: part.slice(marks, -marks) }) : part);
  }
  return made;
}
