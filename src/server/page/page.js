// The page of the server: questions and pictures in, answers out. Whatever users and models write is put in as text.
import { curlOf, pythonOf, toClipboard } from "./copy.js";
import { showDetections } from "./detect.js";
import { verdictTable } from "./guard.js";
import { connectCamera, kept, Picture, placeholder } from "./pictures.js";
import { bodyOf, requestOf } from "./request.js";
import { chat, sendForJson, ServerError, statsLine } from "./stream.js";

const byId = (id) => document.getElementById(id);
const storeName = "tapetum conversation", keyName = "tapetum key";

const box = byId("question"), askButton = byId("ask"), stopButton = byId("stop");
const modelSelect = byId("model"), secondSelect = byId("model-b"), keyField = byId("api-key");
const modes = {
  ask: { does: "Ask", needs: "chat", label: "Question", model: "Model", hint: "" },
  detect: { does: "Detect", needs: "detect", label: "What to find", model: "Model",
            hint: "For example: birds ; windows ; how many chairs. Of several pictures the first is searched. " },
  guard: { does: "Judge", needs: "guard", label: "Text to judge", model: "Guard",
           hint: "Pictures are judged where there are some, else the text. " },
  compare: { does: "Compare", needs: "chat", label: "Question for both models", model: "First model",
             hint: "One model after the other, so that their times compare. Without the conversation before. " },
};

let mode = "ask";
let pictures = [];    // of the question that is being written
let turns = [];       // of the conversation: {question, pictures, answer, model, stats, note}
let models = [];      // of the server
let running = null;   // AbortController of what is being answered
let lastRequest = null;
let ready = Promise.resolve();  // pictures that are still being read
let modelsTimer = 0;

// ---- what the page says

function fail(error) {
  byId("error").textContent = error.message || String(error);
  if (error.status === 401) {
    byId("key-box").open = true;
    keyField.focus();
  }
}

function speak(text) {
  if (!text.trim()) return;
  const piece = document.createElement("p");
  piece.textContent = text;
  byId("spoken").append(piece);
}

// The newest answer of any mode and its numbers have the ids #answer and #stats.
function makeNewest(answer, stats) {
  for (const [id, element] of [["answer", answer], ["stats", stats]]) {
    const before = byId(id);
    if (before) {
      before.removeAttribute("id");
      delete before.dataset.testid;
    }
    if (!element) continue;
    element.id = element.dataset.testid = id;
  }
}

// Shows an answer as it comes; speaks it by sentences.
function writer(element) {
  const node = document.createTextNode("");
  let unspoken = "";
  element.replaceChildren(node);
  return {
    add(piece) {
      node.appendData(piece);
      unspoken += piece;
      const whole = unspoken.length > 60 && /^[\s\S]*(?:[.!?:](?=\s)|[。！？\n])/.exec(unspoken);
      const length = whole ? whole[0].length : unspoken.length > 400 ? unspoken.length : 0;
      speak(unspoken.slice(0, length));
      unspoken = unspoken.slice(length);
    },
    end() {
      speak(unspoken);
      unspoken = "";
    },
    get text() {
      return node.data;
    },
  };
}

// Keeps the page's end in sight when it was in sight before.
function following(act) {
  const page = document.documentElement;
  const atEnd = innerHeight + scrollY >= page.scrollHeight - 100;
  act();
  if (atEnd) scrollTo({ top: page.scrollHeight, behavior: "instant" });
}

// ---- pictures

function showPictures() {
  const list = byId("pictures");
  list.replaceChildren(...pictures.map((picture) => {
    const item = document.createElement("li");
    const remove = document.createElement("button");
    remove.type = "button";
    remove.className = "remove";
    remove.textContent = "×";
    remove.dataset.testid = "remove-picture";
    remove.setAttribute("aria-label", `Remove ${picture.name}`);
    remove.addEventListener("click", () => {
      const at = pictures.indexOf(picture);
      pictures = pictures.filter((other) => other !== picture);
      picture.forget();
      showPictures();
      const buttons = list.querySelectorAll("button");
      (buttons[Math.min(at, buttons.length - 1)] ?? byId("picture-input")).focus();
    });
    item.append(picture.view(), remove);
    return item;
  }));
}

function addFiles(files) {
  const all = [...files];
  ready = ready.then(async () => {
    const refused = [];
    for (const file of all) {
      try {
        pictures.push(await Picture.from(file));
      } catch (error) {
        refused.push(error.message);
      }
    }
    byId("error").textContent = refused.join(" ");
    showPictures();
    const count = pictures.length;
    byId("done").textContent = count === 1 ? "1 picture is with the question." : `${count} pictures are with the question.`;
  });
}

function connectPictures() {
  for (const input of [byId("picture-input"), byId("camera-input")])
    input.addEventListener("change", () => {
      addFiles(input.files);
      input.value = "";  // so that the same file can be chosen again
    });
  const drop = byId("drop");
  const hasFiles = (event) => event.dataTransfer?.types.includes("Files");
  document.addEventListener("dragover", (event) => {
    if (!hasFiles(event)) return;
    event.preventDefault();
    drop.classList.add("over");
  });
  document.addEventListener("dragleave", (event) => {
    if (!event.relatedTarget) drop.classList.remove("over");
  });
  document.addEventListener("drop", (event) => {
    drop.classList.remove("over");
    if (!hasFiles(event)) return;
    event.preventDefault();
    addFiles(event.dataTransfer.files);
  });
  document.addEventListener("paste", (event) => {
    const { files, types } = event.clipboardData;
    // Office programs add a picture of the text that was copied: the text is meant.
    if (files.length === 0 || (types.includes("text/plain") && types.includes("text/html"))) return;
    event.preventDefault();
    addFiles(files);
  });
  connectCamera({
    dialog: byId("camera"), view: byId("camera-view"), openButton: byId("camera-open"), takeButton: byId("camera-take"),
    cancelButton: byId("camera-cancel"), fallback: byId("camera-input"), take: (file) => addFiles([file]), fail,
  });
}

// ---- models

function fillModels() {
  if (models.length === 0) return;  // not yet known
  const { needs } = modes[mode];
  const able = (model) => !Array.isArray(model.capabilities) || model.capabilities.includes(needs);
  const some = models.some(able);
  [modelSelect, secondSelect].forEach((select, i) => {
    const before = select.value;
    select.replaceChildren(...models.map((model) => {
      const option = document.createElement("option");
      option.value = model.id;
      option.textContent = model.context ? `${model.id} (${model.context} tokens)` : model.id;
      option.disabled = some && !able(model);
      return option;
    }));
    const choice = models.filter((model) => !some || able(model)).map((model) => model.id);
    select.value = choice.includes(before) ? before : choice[Math.min(i, choice.length - 1)] ?? "";
  });
  byId("model-note").textContent = some ? "" : `None of the models here says that it can ${needs}.`;
}

async function loadModels() {
  clearTimeout(modelsTimer);
  try {
    const { data } = await sendForJson("/v1/models", undefined, { key: keyField.value.trim() });
    models = Array.isArray(data) ? data.filter((model) => typeof model?.id === "string") : [];
    fillModels();
  } catch (error) {
    if (error.status !== 503) return fail(error);
    byId("model-note").textContent = "The model is being loaded…";
    modelsTimer = setTimeout(loadModels, 2000);
  }
}

// Of the mode and what is in the box now.
const requestNow = (model = modelSelect.value) =>
  requestOf(mode, { model: model || undefined, text: box.value.trim(), pictures, turns: mode === "ask" ? turns : [] });

const sending = (signal) => ({ key: keyField.value.trim(), signal });

// ---- Ask

function turnView(turn) {
  const make = (name, className, text = "") => {
    const element = document.createElement(name);
    element.className = className;
    element.textContent = text;
    return element;
  };
  const item = make("li", "turn"), thumbs = make("div", "thumbs");
  thumbs.append(...turn.pictures.map((picture) => (picture instanceof Picture ? picture.view() : placeholder(picture.name, "no longer there"))));
  const view = { item, answer: make("p", "answer text", turn.answer), stats: make("p", "stats", turn.stats), note: make("p", "note", turn.note) };
  item.append(make("h2", "who", "You"), thumbs, make("p", "text", turn.question),
              make("h2", "who", turn.model || "Model"), view.answer, view.note, view.stats);
  byId("turns").append(item);
  makeNewest(view.answer, view.stats);
  return view;
}

function save() {
  try {
    localStorage.setItem(storeName, JSON.stringify(turns.map((turn) => (
      { ...turn, pictures: turn.pictures.map(({ key, name }) => ({ key, name })) }))));
  } catch {
    // Storage is full or not allowed: the conversation lives as long as the page.
  }
}

async function restore() {
  let saved = [];
  try {
    saved = JSON.parse(localStorage.getItem(storeName)) ?? [];
  } catch {
    return;
  }
  if (!Array.isArray(saved)) return;
  for (const turn of saved) {
    if (typeof turn?.question !== "string" || typeof turn.answer !== "string") continue;
    const found = [];
    for (const { key, name } of turn.pictures ?? []) {
      const blob = key && await kept.get(key);
      found.push(blob ? await Picture.of(blob, name, key) : { key, name: String(name) });
    }
    const { question, answer, model = "", stats = "", note = "" } = turn;
    turns.push({ question, answer, model, stats, note, pictures: found });
    turnView(turns.at(-1));
  }
}

function newConversation() {
  running?.abort();
  for (const picture of turns.flatMap((turn) => turn.pictures)) if (picture instanceof Picture) picture.forget();
  turns = [];
  lastRequest = null;
  byId("turns").replaceChildren();
  byId("spoken").replaceChildren();
  byId("error").textContent = "";
  byId("done").textContent = "A new conversation has begun.";
  save();
  kept.clear();
  box.focus();
}

// Gives what else than "Done." there is to say.
async function ask(signal) {
  const request = requestNow(), conversation = turns;
  const turn = { question: box.value.trim(), pictures: [...pictures], answer: "", model: modelSelect.value, stats: "", note: "" };
  const body = await bodyOf(request);
  signal.throwIfAborted();
  lastRequest = request;
  for (const failed of document.querySelectorAll(".turn.failed")) failed.remove();
  let view;
  following(() => { view = turnView(turn); });
  const out = writer(view.answer);
  const begun = performance.now();
  // The box is emptied once the server answers, and filled again when the answer fails: nothing is lost.
  const onFirst = () => {
    if (box.value.trim() === turn.question) box.value = "";
    pictures = pictures.filter((picture) => !turn.pictures.includes(picture));
    showPictures();
  };
  try {
    const result = await chat(body, { ...sending(signal), onFirst, onPiece: (piece) => following(() => out.add(piece)) });
    turn.stats = statsLine(result);
    if (result.finish === "length") turn.note = "Cut: the limit of tokens was reached.";
  } catch (error) {
    const stopped = error.name === "AbortError";
    if (!stopped || !out.text) {
      if (!box.value.trim()) box.value = turn.question;
      pictures = [...turn.pictures.filter((picture) => !pictures.includes(picture)), ...pictures];
      showPictures();
      if (out.text) {
        view.item.classList.add("failed");
        view.note.textContent = "Broken off; this is not part of the conversation.";
      } else {
        view.item.remove();
        const last = byId("turns").lastElementChild;
        makeNewest(last?.querySelector(".answer"), last?.querySelector(".stats"));
      }
      throw error;
    }
    turn.note = "Stopped.";
    turn.stats = statsLine({ usage: null, totalMs: performance.now() - begun });
  } finally {
    out.end();
  }
  turn.answer = out.text;
  following(() => {
    view.note.textContent = turn.note;
    view.stats.textContent = turn.stats;
  });
  if (conversation !== turns) return;  // a new one was begun meanwhile
  turns.push(turn);
  save();
  for (const picture of turn.pictures) kept.put(picture);
  return turn.note || undefined;
}

// ---- Detect, Guard, Compare

// Sends, takes the time, and hands the reply to `show`, which returns what is said about it.
async function once(panel, signal, show) {
  const request = requestNow();
  const body = await bodyOf(request);
  lastRequest = request;
  const begun = performance.now();
  const reply = await sendForJson(request.path, body, sending(signal));
  const totalMs = performance.now() - begun;
  const answer = panel.querySelector(".answer"), stats = panel.querySelector(".stats");
  answer.textContent = show(reply, request);
  stats.textContent = statsLine({ usage: reply?.usage, totalMs });
  makeNewest(answer, stats);
  speak(answer.textContent);
  panel.scrollIntoView({ block: "nearest", behavior: "instant" });
}

const detect = (signal) => once(byId("panel-detect"), signal, (reply, request) => showDetections(reply, request.pictures[0], {
  stage: byId("stage"), image: byId("stage-picture"), overlay: byId("overlay"), list: byId("detections"), counts: byId("counts"),
}));

const guard = (signal) => once(byId("panel-guard"), signal, (reply, request) => {
  if (!Array.isArray(reply?.results) || reply.results.length === 0) throw new ServerError("The server's answer has no results.");
  const names = request.pictures.length > 0 ? request.pictures.map((picture) => picture.name) : ["The text"];
  const nameOf = (i) => (names.length === reply.results.length ? names[i] : names.join(", "));
  byId("verdicts").replaceChildren(...reply.results.map((result, i) => verdictTable(result, nameOf(i))));
  const flagged = reply.results.filter((result) => result.flagged).flatMap((result) =>
    Object.keys(result.categories ?? {}).filter((category) => result.categories[category]));
  return reply.results.some((result) => result.flagged) ? `Flagged: ${[...new Set(flagged)].join(", ")}` : "Not flagged.";
});

async function compare(signal) {
  const sides = [["a", modelSelect.value], ["b", secondSelect.value]].map(([letter, model]) => (
    { model, answer: byId(`answer-${letter}`), stats: byId(`stats-${letter}`), request: requestNow(model) }));
  const bodies = [];
  for (const side of sides) bodies.push(await bodyOf(side.request));
  lastRequest = sides[0].request;
  for (const { model, answer, stats } of sides) {
    answer.parentElement.querySelector("h2").textContent = model || "The server's model";
    answer.textContent = stats.textContent = "";
  }
  byId("panel-compare").scrollIntoView({ block: "nearest", behavior: "instant" });
  let failure = null;
  for (const [i, { model, answer, stats }] of sides.entries()) {
    const out = writer(answer);
    speak(`${model}:`);
    stats.textContent = "…";
    try {
      stats.textContent = statsLine(await chat(bodies[i], { ...sending(signal), onPiece: (piece) => out.add(piece) }));
    } catch (error) {
      stats.textContent = error.name === "AbortError" ? "Stopped." : error.message;
      if (error.name === "AbortError") throw error;
      failure ??= error;  // the other model may well answer
    } finally {
      out.end();
    }
  }
  if (failure) throw failure;
}

const tasks = { ask, detect, guard, compare };

// ---- the form

async function run() {
  if (running) return;
  const stopper = running = new AbortController();
  byId("error").textContent = byId("done").textContent = "";
  byId("spoken").replaceChildren();
  askButton.setAttribute("aria-disabled", "true");  // not disabled: that would take the focus away
  stopButton.hidden = false;
  document.body.dataset.busy = "";  // for the eye; aria-busy would hold back what is spoken
  const doing = mode;
  try {
    await ready;
    stopper.signal.throwIfAborted();
    byId("done").textContent = await tasks[doing](stopper.signal) ?? "Done.";
  } catch (error) {
    if (error.name === "AbortError") byId("done").textContent = "Stopped.";
    else fail(error);
  } finally {
    running = null;
    if (document.activeElement === stopButton) box.focus();
    stopButton.hidden = true;
    askButton.removeAttribute("aria-disabled");
    delete document.body.dataset.busy;
  }
}

function showMode() {
  mode = document.querySelector("input[name=mode]:checked").value;
  const { does, label, model, hint } = modes[mode];
  for (const other of Object.keys(modes)) byId(`panel-${other}`).hidden = other !== mode;
  byId("masks-field").hidden = mode !== "detect";
  byId("model-b-field").hidden = mode !== "compare";
  byId("new-conversation").hidden = mode !== "ask";
  byId("settings").hidden = mode === "detect" || mode === "guard";
  byId("question-label").textContent = label;
  byId("model-label").textContent = model;
  byId("question-hint").textContent = `${hint}${coarse.matches ? "" : "Enter sends, Shift + Enter begins a line."}`;
  askButton.textContent = does;
  fillModels();
}

async function copyAs(write, what) {
  byId("error").textContent = "";
  try {
    const empty = !box.value.trim() && pictures.length === 0;
    const request = empty && lastRequest ? lastRequest : requestNow();
    const done = await toClipboard(write(request, location.origin, keyField.value.trim() !== ""));
    if (!done) throw new Error("This browser lets no page write to the clipboard.");
    byId("done").textContent = `Copied as ${what}.`;
  } catch (error) {
    fail(error);
  }
}

const coarse = matchMedia("(pointer: coarse)");

byId("form").addEventListener("submit", (event) => {
  event.preventDefault();
  run();
});
box.addEventListener("keydown", (event) => {
  // isComposing: Enter takes a suggestion of an input method. On touch screens Enter is the only way to a new line.
  if (event.key !== "Enter" || event.shiftKey || event.isComposing || coarse.matches) return;
  event.preventDefault();
  run();
});
stopButton.addEventListener("click", () => running?.abort());
byId("new-conversation").addEventListener("click", newConversation);
byId("copy-curl").addEventListener("click", () => copyAs(curlOf, "curl"));
byId("copy-python").addEventListener("click", () => copyAs(pythonOf, "Python"));
for (const radio of document.querySelectorAll("input[name=mode]")) radio.addEventListener("change", showMode);
keyField.addEventListener("change", () => {
  try {
    sessionStorage.setItem(keyName, keyField.value.trim());
  } catch {
    // Not allowed: it is in the field still.
  }
  byId("error").textContent = "";
  if (models.length === 0) loadModels();
});

try {
  keyField.value = sessionStorage.getItem(keyName) ?? "";
} catch {
  // As above.
}
connectPictures();
showMode();
loadModels();
ready = restore().catch(() => {});  // what another version has stored
