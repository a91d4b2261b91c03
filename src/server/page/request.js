// What the page asks of the server: {path, body, pictures}, where a Picture in the body stands for its data URL.
import { Picture } from "./pictures.js";

const byId = (id) => document.getElementById(id);
const mostBodyBytes = 64 * 2 ** 20;  // of the server; it would cut the connection in the middle of a larger body

// The settings of the form. Both throw Error in words, and show the field that is wrong.
function numberOf(id, name) {
  const input = byId(id);
  if (!input.checkValidity()) {
    byId("settings").open = true;
    input.focus();
    throw new Error(`${name}: ${input.validationMessage}`);
  }
  return input.value === "" ? undefined : Number(input.value);
}

function answerForm() {
  const text = byId("schema").value.trim();
  if (!text) return undefined;
  try {
    return { type: "json_schema", json_schema: { name: "answer", schema: JSON.parse(text) } };
  } catch (error) {
    byId("settings").open = true;
    byId("schema").focus();
    throw new Error(`JSON Schema: ${error.message}`);
  }
}

const imagePart = (picture) => ({ type: "image_url", image_url: { url: picture } });

function contentOf(text, all) {
  const there = all.filter((picture) => picture instanceof Picture);
  if (there.length === 0) return text || "(a picture that is no longer there)";
  return [...there.map(imagePart), ...(text ? [{ type: "text", text }] : [])];
}

function chatRequest({ model, text, pictures, turns }) {
  const messages = [];
  const system = byId("system").value.trim();
  if (system) messages.push({ role: "system", content: system });
  for (const turn of turns)
    messages.push({ role: "user", content: contentOf(turn.question, turn.pictures) }, { role: "assistant", content: turn.answer });
  messages.push({ role: "user", content: contentOf(text, pictures) });
  return {
    path: "/v1/chat/completions",
    body: {
      model, messages, stream: true, stream_options: { include_usage: true },
      temperature: numberOf("temperature", "Temperature"), max_tokens: numberOf("max-tokens", "Most output tokens"),
      seed: numberOf("seed", "Seed"), response_format: answerForm(),
    },
    pictures: [...turns.flatMap((turn) => turn.pictures).filter((picture) => picture instanceof Picture), ...pictures],
  };
}

// `turns`: of the conversation before. Throws Error saying what is missing.
export function requestOf(mode, { model, text, pictures, turns }) {
  if (mode === "detect") {
    if (pictures.length === 0) throw new Error("Add a picture first: it is searched for what you write.");
    if (!text) throw new Error("Write what to find in the picture.");
    const task = byId("masks").checked ? "segment" : "detect";
    return { path: "/v1/detect", body: { model, image: pictures[0], prompt: text, task }, pictures: [pictures[0]] };
  }
  if (!text && pictures.length === 0)
    throw new Error(mode === "guard" ? "Add a picture or write a text to judge." : "Write a question or add a picture first.");
  if (mode === "guard")
    return { path: "/v1/moderations", body: { model, input: pictures.length > 0 ? pictures.map(imagePart) : text }, pictures: [...pictures] };
  return chatRequest({ model, text, pictures: [...pictures], turns });
}

export async function bodyOf(request) {
  const urls = new Map();
  for (const picture of request.pictures) urls.set(picture, await picture.dataUrl());
  const body = JSON.stringify(request.body, (_, value) => (value instanceof Picture ? urls.get(value) : value));
  const { size } = new Blob([body]);
  if (size > mostBodyBytes)
    throw new Error(`The request has ${(size / 1e6).toFixed(0)} MB, pictures of the conversation included; the server takes ` +
      `${(mostBodyBytes / 1e6).toFixed(0)} MB. Remove pictures, or begin a new conversation.`);
  return body;
}
