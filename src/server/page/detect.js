// What was found in a picture: masks decoded, places drawn over it, a list beside it.

const mostMaskPixels = 2 ** 28;
const mostMaskColumns = 1024;  // drawn; of wider masks each column stands for its neighbours too
const hues = 7;                // of page.css: .hue-0 to .hue-6
const isSize = (n) => Number.isInteger(n) && n > 0;

// COCO's compressed runs (cocodataset/cocoapi, common/maskApi.c): groups of 5 bits offset by 48, the lowest first; from
// the fourth run on the difference to the run two before. Throws Error for what does not add up to height * width.
export function decodeRuns(text, height, width) {
  const bad = (why) => new Error(`A mask cannot be read: ${why}.`);
  if (typeof text !== "string" || !isSize(height) || !isSize(width) || height * width > mostMaskPixels)
    throw bad("its size is out of range");
  const runs = [];
  let sum = 0;
  for (let at = 0; at < text.length;) {
    let value = 0, shift = 0, group;
    do {
      if (at >= text.length) throw bad("it ends within a number");
      if (shift > 35) throw bad("a number is too long");
      group = text.charCodeAt(at++) - 48;
      if (!(group >= 0 && group <= 63)) throw bad("a character is out of range");
      value += (group & 31) * 2 ** shift;  // no <<: that is of 32 bits
      shift += 5;
    } while (group & 32);
    if (group & 16) value -= 2 ** shift;
    if (runs.length > 2) value += runs[runs.length - 2];
    sum += value;
    if (value < 0 || sum > height * width) throw bad("a run is out of range");
    runs.push(value);
  }
  if (sum !== height * width) throw bad("it has fewer pixels than the picture");
  return runs;
}

// The pixels that are set, as one SVG path of a rectangle a run and column: exact, and no pixels to encode.
export function maskPath(runs, height, width) {
  const step = Math.ceil(width / mostMaskColumns);
  const pieces = [];
  let at = 0;
  runs.forEach((run, i) => {
    const end = at + run;
    for (let from = at; i % 2 === 1 && from < end;) {
      const x = Math.floor(from / height), top = from % height;
      const length = Math.min(height - top, end - from);
      const thick = Math.min(step, width - x);
      if (x % step === 0) pieces.push(`M${x} ${top}h${thick}v${length}h${-thick}z`);
      from += length;
    }
    at = end;
  });
  return pieces.join("");
}

function svg(name, attributes) {
  const element = document.createElementNS("http://www.w3.org/2000/svg", name);
  for (const [key, value] of Object.entries(attributes)) element.setAttribute(key, value);
  return element;
}

// One of the items is reached by Tab, the others from it by arrow keys: a hundred detections are not a hundred stops.
function roving(items) {
  items.forEach((item, i) => {
    item.setAttribute("tabindex", i === 0 ? "0" : "-1");
    item.addEventListener("focus", () => items.forEach((other) => other.setAttribute("tabindex", other === item ? "0" : "-1")));
    item.addEventListener("keydown", (event) => {
      const to = { ArrowDown: i + 1, ArrowRight: i + 1, ArrowUp: i - 1, ArrowLeft: i - 1, Home: 0, End: items.length - 1 }[event.key];
      if (to === undefined || event.ctrlKey || event.altKey || event.metaKey) return;
      event.preventDefault();
      items[Math.max(0, Math.min(items.length - 1, to))].focus();
    });
  });
}

// The form of a reply, checked once here so that drawing can rely on it.
function checked(reply) {
  const isList = (list, length) => Array.isArray(list) && list.length === length && list.every(Number.isFinite);
  const right = isSize(reply?.width) && isSize(reply.height) && Array.isArray(reply.objects) &&
    reply.objects.every((d) => d && (isList(d.box, 4) || isList(d.point, 2)));
  if (!right) throw new Error("The server's answer is no list of detections.");
  return reply.objects.map(({ label, box, score, point, mask }) => ({
    label: String(label ?? ""),
    box: box ?? [...point, ...point],
    score: Number.isFinite(score) ? score.toFixed(2) : null,
    point: isList(point, 2) ? point : null,
    mask: mask ?? null,
  }));
}

function drawn(found, i, { width, height }) {
  const [x1, y1, x2, y2] = found.box;
  const group = svg("g", {
    class: `found hue-${found.hue % hues} dash-${Math.min(2, Math.floor(found.hue / hues))}`,
    role: "img",
    "aria-label": `${i + 1}: ${found.label}${found.score === null ? "" : `, score ${found.score}`}`,
    "data-testid": "box",
  });
  if (found.mask) {
    const [rows, columns] = Array.isArray(found.mask.size) ? found.mask.size : [];
    const path = svg("path", { class: "mask", d: maskPath(decodeRuns(found.mask.counts, rows, columns), rows, columns) });
    if (rows !== height || columns !== width) path.setAttribute("transform", `scale(${width / columns} ${height / rows})`);
    group.append(path);
  }
  const place = { x: x1, y: y1, width: Math.max(0, x2 - x1), height: Math.max(0, y2 - y1) };
  if (found.point) {
    // A line without length but with round ends is a dot of the same size on the screen whatever the picture's size.
    const d = `M${found.point[0]} ${found.point[1]}h0`;
    group.append(svg("path", { class: "dot halo", d }), svg("path", { class: "dot line", d }));
  } else {
    group.append(svg("rect", { class: "box halo", ...place }), svg("rect", { class: "box line", ...place }));
  }
  const [x, y] = found.point ?? [x1, y1];
  const right = x > width * 0.8, top = y < height * 0.08;
  const name = svg("text", { x, y, dx: right ? "-0.3em" : "0.3em", dy: top ? "1.2em" : "-0.4em", "text-anchor": right ? "end" : "start" });
  name.textContent = `${i + 1} ${found.label.slice(0, 40)}`;
  group.append(name);
  return group;
}

function listed(found, i) {
  const item = document.createElement("li");
  const button = document.createElement("button");
  button.type = "button";
  button.className = `found hue-${found.hue % hues}`;
  button.dataset.testid = "detection";
  button.setAttribute("aria-pressed", "false");
  const part = (className, text) => {
    const span = document.createElement("span");
    span.className = className;
    span.textContent = text;
    button.append(span, " ");  // the space is for readers, not for the eye
  };
  part("number", `${i + 1}`);
  part("label", found.label || "(no label)");
  if (found.score !== null) part("score", found.score);
  part("where", (found.point ?? found.box).map((n) => Math.round(n)).join(", "));
  item.append(button);
  return item;
}

let resized = null;

// Draws all anew and returns what was found in words, e.g. "bird: 2, window: 1".
export function showDetections(reply, picture, { stage, image, overlay, list, counts }) {
  const found = checked(reply);
  const { width, height } = reply;
  const labels = [...new Set(found.map((d) => d.label))];
  for (const d of found) d.hue = labels.indexOf(d.label);
  const groups = found.map((d, i) => drawn(d, i, reply));  // throws before anything on the page is changed
  const items = found.map(listed);
  const buttons = items.map((item) => item.firstChild);

  stage.hidden = false;
  stage.style.aspectRatio = `${width} / ${height}`;
  stage.style.maxWidth = `calc(75vh * ${width / height})`;
  image.hidden = picture.width === 0;
  if (picture.width > 0) image.src = picture.url;
  else image.removeAttribute("src");
  image.alt = picture.name;
  overlay.setAttribute("viewBox", `0 0 ${width} ${height}`);
  overlay.setAttribute("preserveAspectRatio", "none");
  // Large ones first: what lies in another one stays within reach of the pointer.
  const area = ({ box: [x1, y1, x2, y2] }) => (x2 - x1) * (y2 - y1);
  overlay.replaceChildren(...groups.map((_, i) => i).sort((a, b) => area(found[b]) - area(found[a])).map((i) => groups[i]));
  list.replaceChildren(...items);

  let pinned = -1, focused = -1;
  const light = (on) => [groups, buttons].forEach((all) => all.forEach((one, i) => one.classList.toggle("lit", i === on)));
  [groups, buttons].forEach((all) => {
    roving(all);
    all.forEach((one, i) => {
      one.addEventListener("pointerenter", () => light(i));
      one.addEventListener("pointerleave", () => light(focused < 0 ? pinned : focused));
      one.addEventListener("focus", () => light(focused = i));
      one.addEventListener("blur", () => {
        focused = -1;
        light(pinned);
      });
      one.addEventListener("click", () => {
        pinned = pinned === i ? -1 : i;
        buttons.forEach((button, k) => button.setAttribute("aria-pressed", String(k === pinned)));
      });
    });
  });

  // Letters are of the screen's size, not of the picture's.
  const fit = () => { if (stage.clientWidth > 0) overlay.style.fontSize = `${14 * width / stage.clientWidth}px`; };
  resized?.disconnect();
  resized = new ResizeObserver(fit);
  resized.observe(stage);
  fit();

  counts.replaceChildren(...(Array.isArray(reply.counted) ? reply.counted : []).map(({ label, boxes, answered }) => {
    const item = document.createElement("li");
    const told = Number.isFinite(answered) ? `; asked how many, the model says ${answered}` : "";
    item.textContent = `${label}: ${boxes} found${told}`;
    return item;
  }));
  const summary = labels.map((label) => `${label || "(no label)"}: ${found.filter((d) => d.label === label).length}`).join(", ");
  const odd = picture.width > 0 && (picture.width !== width || picture.height !== height)
    ? ` The server's picture is ${width} x ${height}, this browser's ${picture.width} x ${picture.height}.` : "";
  return (summary || "Nothing found.") + odd;
}
