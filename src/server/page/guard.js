// A guard's verdict as a table.

function scoreBar(score) {
  const svg = document.createElementNS("http://www.w3.org/2000/svg", "svg");
  const bar = document.createElementNS("http://www.w3.org/2000/svg", "rect");
  for (const [key, value] of [["class", "bar"], ["viewBox", "0 0 100 8"], ["preserveAspectRatio", "none"], ["aria-hidden", "true"]])
    svg.setAttribute(key, value);
  bar.setAttribute("width", String(100 * Math.max(0, Math.min(1, score))));
  bar.setAttribute("height", "8");
  svg.append(bar);
  return svg;
}

// One result of /v1/moderations.
export function verdictTable(result, name) {
  const categories = result.categories ?? {}, scores = result.category_scores ?? {};
  const table = document.createElement("table");
  table.createCaption().textContent = `${name}: ${result.flagged ? "flagged" : "not flagged"}`;
  const head = table.createTHead().insertRow();
  for (const text of ["Category", "Score", "Verdict"]) {
    const cell = document.createElement("th");
    cell.scope = "col";
    cell.textContent = text;
    head.append(cell);
  }
  const rows = table.createTBody();
  for (const category of new Set([...Object.keys(scores), ...Object.keys(categories)])) {
    const row = rows.insertRow();
    const title = document.createElement("th");
    title.scope = "row";
    title.textContent = category;
    row.append(title);
    const score = row.insertCell();
    if (Number.isFinite(scores[category])) score.append(scoreBar(scores[category]), scores[category].toFixed(3));
    row.insertCell().textContent = categories[category] ? "flagged" : "passed";
    row.classList.toggle("flagged", Boolean(categories[category]));
  }
  return table;
}
