// A request of this page as a command or a program that sends the same. Pictures are named as files; the API key is
// taken from the environment, so that none is pasted about.
import { Picture } from "./pictures.js";

// JSON and Python alike but for `leaf`, which writes what is no list and no object.
function written(value, leaf, indent) {
  if (value instanceof Picture || value === null || typeof value !== "object") return leaf(value);
  const inner = `${indent}    `;
  const items = Array.isArray(value) ? value.map((item) => written(item, leaf, inner))
    : Object.entries(value).filter(([, item]) => item !== undefined)
      .map(([name, item]) => `${leaf(name)}: ${written(item, leaf, inner)}`);
  const [open, close] = Array.isArray(value) ? "[]" : "{}";
  if (items.length === 0) return open + close;
  return `${open}\n${items.map((item) => inner + item).join(",\n")}\n${indent}${close}`;
}

const shellWord = (text) => `'${text.replaceAll("'", "'\\''")}'`;
const shellName = (name) => (name.startsWith("-") ? `./${name}` : name);

// The JSON stands in a here-document whose $(…) are run: what else the shell would read is escaped, and "!" too, which
// interactive shells replace even there.
function hereText(text) {
  return JSON.stringify(text).replaceAll("!", "\\u0021").replace(/[\\$`]/g, "\\$&");
}

export function curlOf({ path, body, pictures }, origin, withKey) {
  const files = [...new Set(pictures)];
  const leaf = (value) => {
    if (value instanceof Picture)
      return `"data:${value.blob.type};base64,$(base64 < "$picture${files.indexOf(value) + 1}" | tr -d '\\n')"`;
    return typeof value === "string" ? hereText(value) : JSON.stringify(value);
  };
  return [
    ...files.map((picture, i) => `picture${i + 1}=${shellWord(shellName(picture.name))}`),
    `curl -N ${shellWord(origin + path)} \\`,
    "  -H 'Content-Type: application/json' \\",
    ...(withKey ? ['  -H "Authorization: Bearer $TAPETUM_API_KEY" \\'] : []),
    "  --data-binary @- <<JSON",
    written(body, leaf, ""),
    "JSON",
    "",
  ].join("\n");
}

function pythonLeaf(value) {
  if (value instanceof Picture) return `data_url(${JSON.stringify(value.name)}, ${JSON.stringify(value.blob.type)})`;
  if (value === null) return "None";
  if (typeof value === "boolean") return value ? "True" : "False";
  return JSON.stringify(value);  // Python knows all escapes of JSON
}

const posted = (path, body) => [
  `body = ${written(body, pythonLeaf, "")}`,
  `print(client.post(${JSON.stringify(path)}, body=body, cast_to=object))`,
];

const pythonCalls = {
  "/v1/chat/completions": (body) => [
    "stream = client.chat.completions.create(",
    ...Object.entries(body).filter(([, value]) => value !== undefined)
      .map(([name, value]) => `    ${name}=${written(value, pythonLeaf, "    ")},`),
    ")",
    "for chunk in stream:",
    "    if chunk.choices and chunk.choices[0].delta.content:",
    '        print(chunk.choices[0].delta.content, end="", flush=True)',
    "print()",
  ],
  "/v1/detect": (body) => posted("/detect", body),
  "/v1/moderations": (body) => posted("/moderations", body),
};

export function pythonOf({ path, body, pictures }, origin, withKey) {
  const imports = [...(pictures.length > 0 ? ["import base64"] : []), ...(withKey ? ["import os"] : [])];
  return [
    ...imports,
    ...(imports.length > 0 ? [""] : []),
    "from openai import OpenAI",
    "",
    ...(pictures.length > 0 ? [
      "def data_url(path, mime):",
      '    with open(path, "rb") as file:',
      '        return f"data:{mime};base64,{base64.b64encode(file.read()).decode()}"',
      "",
    ] : []),
    `client = OpenAI(base_url=${JSON.stringify(`${origin}/v1`)}, api_key=${withKey ? 'os.environ["TAPETUM_API_KEY"]' : '"none"'})`,
    ...pythonCalls[path](body),
    "",
  ].join("\n");
}

// False when the browser lets no page write to the clipboard.
export async function toClipboard(text) {
  try {
    await navigator.clipboard.writeText(text);  // only pages from https and from this machine have it
    return true;
  } catch {
    const focused = document.activeElement;
    const area = document.createElement("textarea");
    area.className = "unseen";
    area.value = text;
    document.body.append(area);
    area.select();
    const copied = document.execCommand("copy");
    area.remove();
    focused?.focus();
    return copied;
  }
}
