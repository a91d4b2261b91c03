// Talks to the server: requests, refusals in words, answers as they come.

export class ServerError extends Error {
  constructor(message, status = 0) {
    super(message);
    this.status = status;  // 0: no HTTP answer says it
  }
}

const isAbort = (error) => error?.name === "AbortError";

// Text of an event stream, cut anywhere, in; the data of whole events out (WHATWG HTML, server-sent events).
export class EventParser {
  #rest = "";
  #data = [];

  feed(text) {
    const events = [];
    this.#rest += text;
    const lineEnd = /\r\n|\n|\r/g;
    let at = 0;
    for (let end; (end = lineEnd.exec(this.#rest)); at = lineEnd.lastIndex) {
      if (end[0] === "\r" && lineEnd.lastIndex === this.#rest.length) break;  // perhaps half of \r\n
      this.#line(this.#rest.slice(at, end.index), events);
    }
    this.#rest = this.#rest.slice(at);
    return events;
  }

  #line(line, events) {
    if (line === "") {
      if (this.#data.length > 0) events.push(this.#data.join("\n"));
      this.#data = [];
      return;
    }
    const colon = line.indexOf(":");
    if ((colon < 0 ? line : line.slice(0, colon)) !== "data") return;  // comments and other fields
    const value = colon < 0 ? "" : line.slice(colon + 1);
    this.#data.push(value.startsWith(" ") ? value.slice(1) : value);
  }
}

export async function* eventsOf(response) {
  const reader = response.body.getReader();
  const decoder = new TextDecoder();
  const parser = new EventParser();
  try {
    for (;;) {
      const { done, value } = await reader.read();
      yield* parser.feed(done ? decoder.decode() : decoder.decode(value, { stream: true }));
      if (done) return;
    }
  } finally {
    reader.cancel().catch(() => {});  // of a stream that broke: it is over anyway
  }
}

async function refusal(response, path) {
  const { status } = response;
  let error = null;
  try {
    error = (await response.json()).error;
  } catch (failed) {
    if (isAbort(failed)) return failed;
  }
  // Two things are not found with status 404: a model, then the error has a code, and a route.
  if (status === 404 && !error?.code) return new ServerError(`This server has no such route: ${path}`, status);
  const said = typeof error?.message === "string" && error.message !== "" ? error.message
    : `The server answered ${status} ${response.statusText}`.trim();
  return new ServerError(status === 401 ? `${said}. Give the API key above and try again.` : said, status);
}

// GET without a body. Throws ServerError, or AbortError when the signal says so.
export async function send(path, body, { key = "", signal } = {}) {
  if (!/^[\x21-\x7e]*$/.test(key)) throw new ServerError("The API key has characters that no key can have.");
  const headers = {};
  if (body !== undefined) headers["Content-Type"] = "application/json";
  if (key) headers.Authorization = `Bearer ${key}`;
  let response;
  try {
    response = await fetch(path, { method: body === undefined ? "GET" : "POST", headers, body, signal, cache: "no-store" });
  } catch (error) {
    if (isAbort(error)) throw error;
    throw new ServerError("The server cannot be reached: it does not run, the network is down, or it closed the connection.");
  }
  if (!response.ok) throw await refusal(response, path);
  return response;
}

export async function sendForJson(path, body, options) {
  const response = await send(path, body, options);
  try {
    return await response.json();
  } catch (error) {
    if (isAbort(error)) throw error;
    throw new ServerError("The connection was lost, or the server's answer is not JSON.");
  }
}

function parsed(data) {
  try {
    return JSON.parse(data);
  } catch {
    throw new ServerError("The server sent a piece of an answer that is not JSON.");
  }
}

// A streamed answer: its pieces go to onPiece, its numbers come back. Times are measured here, in milliseconds.
export async function chat(body, { key, signal, onFirst = () => {}, onPiece }) {
  const begun = performance.now();
  const result = { usage: null, finish: null, firstMs: null, lastMs: null, totalMs: 0 };
  const response = await send("/v1/chat/completions", body, { key, signal });
  let whole = false;
  try {
    for await (const data of eventsOf(response)) {
      if (whole) continue;  // read to the end: the connection serves again
      if (data === "[DONE]") {
        whole = true;
        result.totalMs = performance.now() - begun;
        continue;
      }
      const chunk = parsed(data);
      if (chunk?.error) throw new ServerError(chunk.error.message ?? "The server failed in the middle of the answer.");
      const choice = chunk?.choices?.[0];
      if (choice) {
        result.lastMs = performance.now() - begun;
        if (result.firstMs === null) {
          result.firstMs = result.lastMs;
          onFirst();
        }
        if (choice.delta?.content) onPiece(choice.delta.content);
        result.finish = choice.finish_reason ?? result.finish;
      }
      if (chunk?.usage) result.usage = chunk.usage;
    }
  } catch (error) {
    if (whole) return result;
    if (isAbort(error) || error instanceof ServerError) throw error;
    throw new ServerError("The connection was lost in the middle of the answer.");
  }
  if (!whole) throw new ServerError("The connection ended before the answer did.");
  return result;
}

const seconds = (ms) => `${(ms / 1000).toFixed(2)} s`;

// "812 prompt tokens (768 picture, 700 cached) · 56 output tokens · 21.3 tokens/s · first token 0.84 s · total 3.50 s"
export function statsLine({ usage, firstMs = null, lastMs = null, totalMs }) {
  const parts = [];
  if (Number.isFinite(usage?.prompt_tokens)) {
    const details = usage.prompt_tokens_details ?? {};
    const inner = [];
    if (details.image_tokens !== undefined) inner.push(`${details.image_tokens} picture`);
    if (details.cached_tokens !== undefined) inner.push(`${details.cached_tokens} cached`);
    parts.push(`${usage.prompt_tokens} prompt tokens${inner.length > 0 ? ` (${inner.join(", ")})` : ""}`);
    if (usage.completion_tokens !== undefined) parts.push(`${usage.completion_tokens} output tokens`);
    // The first token's time is the prompt's. Of a few milliseconds no rate can be told.
    if (usage.completion_tokens > 1 && firstMs !== null && lastMs - firstMs >= 50)
      parts.push(`${((usage.completion_tokens - 1) * 1000 / (lastMs - firstMs)).toFixed(1)} tokens/s`);
  }
  if (firstMs !== null) parts.push(`first token ${seconds(firstMs)}`);
  parts.push(`total ${seconds(totalMs)}`);
  return parts.join(" · ");
}
