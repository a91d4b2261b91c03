#!/usr/bin/env python3
"""Compares published chat templates as tapetum and as jinja2 render them.

    tools/check_templates.py build/tests/tools/render_batch [-v]

Templates are the *.jinja files of $TAPETUM_TEMPLATES (default ../shared/real/templates beside the repository). Each meets every
conversation below, with and without the generation prompt. Equal means: the same text, or an error from both, and the same
message where the template raised it. Exits 0 when all are equal, 1 when one differs, 77 when there is nothing to compare.
"""
import json
import os
import pathlib
import subprocess
import sys

ROOT = pathlib.Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT / "tools" / "goldens"))
FOLDER = pathlib.Path(os.environ.get("TAPETUM_TEMPLATES") or ROOT.parent / "shared" / "real" / "templates")


def user(content):
    return {"role": "user", "content": content}


def assistant(content, **more):
    return {"role": "assistant", "content": content, **more}


def call(name, arguments, id="call_abc12"):
    return {"type": "function", "id": id, "function": {"name": name, "arguments": arguments}}


WEATHER = {"type": "function", "function": {
    "name": "get_weather", "description": "Current weather of a \"city\" <b>now</b> & later.",
    "parameters": {"type": "object", "required": ["city"], "properties": {
        "city": {"type": "string", "description": "Name, e.g. 'Zürich' 東京"},
        "unit": {"type": "string", "enum": ["celsius", "fahrenheit"], "default": "celsius"},
        "days": {"type": ["integer", "null"], "minimum": 1, "maximum": 14},
        "detail": {"type": "object", "properties": {"wind": {"type": "boolean"}, "at": {"type": "array", "items": {"type": "number"}}}}}}}}
SEARCH = {"type": "function", "function": {
    "name": "search", "description": "Search the web", "parameters": {"type": "object", "properties": {
        "query": {"type": "string"}, "filters": {"anyOf": [{"type": "string"}, {"type": "array", "items": {"type": "string"}}]}}, "required": ["query"]},
    "return": {"type": "string"}}}
NO_ARGUMENTS = {"type": "function", "function": {"name": "ping", "description": "", "parameters": {"type": "object", "properties": {}}}}
PICTURE = {"type": "image"}
TEXT = {"type": "text", "text": "What is on the roof?"}

CONVERSATIONS = {
    "text": {"messages": [user("Hello <|im_end|> \"world\"\n\tÄ 猫 🐈")]},
    "system": {"messages": [{"role": "system", "content": "  You are terse.\n"}, user("Hi"), assistant(" Hello! "), user("  Who are you? ")]},
    "system only": {"messages": [{"role": "system", "content": "Only this."}]},
    "developer": {"messages": [{"role": "developer", "content": "Be kind."}, user("Hi")]},
    "many turns": {"messages": [m for i in range(5) for m in (user(f"question {i}"), assistant(f"answer {i}"))] + [user("last")]},
    "ends with assistant": {"messages": [user("Count"), assistant("1, 2,")]},
    "empty": {"messages": []},
    "empty content": {"messages": [user(""), assistant(""), user("x")]},
    "null content": {"messages": [user("x"), assistant(None), user("y")]},
    "two users": {"messages": [user("a"), user("b")]},
    "two assistants": {"messages": [user("a"), assistant("b"), assistant("c")]},
    "starts with assistant": {"messages": [assistant("I begin."), user("ok")]},
    "late system": {"messages": [user("a"), {"role": "system", "content": "late"}, user("b")]},
    "unknown role": {"messages": [user("a"), {"role": "critic", "content": "bad"}, user("b")]},
    "picture": {"messages": [user([PICTURE, TEXT])]},
    "pictures": {"messages": [{"role": "system", "content": [{"type": "text", "text": "See."}]}, user([TEXT, PICTURE, {"type": "image_url", "image_url": {"url": "a.png"}}, PICTURE]),
                              assistant([{"type": "text", "text": "A bird."}]), user([PICTURE, {"type": "text", "text": "And here?"}])]},
    "video and audio": {"messages": [user([{"type": "video"}, {"type": "audio"}, {"type": "text", "text": "Describe."}])], "add_vision_id": True},
    "text parts": {"messages": [user([{"type": "text", "text": "one "}, {"type": "text", "text": "two"}]), assistant([{"type": "text", "text": "three"}]), user("four")]},
    "tools": {"messages": [user("Weather in Paris?")], "tools": [WEATHER, SEARCH]},
    "tools and system": {"messages": [{"role": "system", "content": "Use tools."}, user("Weather?")], "tools": [WEATHER, NO_ARGUMENTS]},
    "no tools": {"messages": [user("Hi")], "tools": []},
    "null tools": {"messages": [user("Hi")], "tools": None},
    "tool call": {"messages": [user("Weather in Paris?"), assistant("", tool_calls=[call("get_weather", {"city": "Paris", "days": 3, "detail": {"wind": True, "at": [1.5, 2e20]}})]),
                               {"role": "tool", "tool_call_id": "call_abc12", "name": "get_weather", "content": "{\"temp\": 21.5}"}], "tools": [WEATHER]},
    "tool answer": {"messages": [user("Weather?"), assistant("Let me look.", tool_calls=[call("get_weather", {"city": "Köln", "unit": None})]),
                                 {"role": "tool", "tool_call_id": "call_abc12", "name": "get_weather", "content": "rain"}, assistant("It rains."), user("Thanks")], "tools": [WEATHER]},
    "two calls": {"messages": [user("Both"), assistant(None, tool_calls=[call("get_weather", {"city": "A"}, "abcdefgh1"), call("search", {"query": "x \"y\" <z>"}, "abcdefgh2")]),
                               {"role": "tool", "tool_call_id": "abcdefgh1", "content": "sun"}, {"role": "tool", "tool_call_id": "abcdefgh2", "content": [{"type": "text", "text": "found"}]},
                               assistant("Done."), user("More"), assistant("", tool_calls=[call("search", {"query": "more", "filters": ["a", "b"]}, "abcdefgh3")]),
                               {"role": "tool", "tool_call_id": "abcdefgh3", "name": "search", "content": "nothing"}], "tools": [WEATHER, SEARCH]},
    "arguments as text": {"messages": [user("x"), assistant("", tool_calls=[call("search", "{\"query\": \"cats\"}", "abcdefgh1")]), {"role": "tool", "tool_call_id": "abcdefgh1", "name": "search", "content": "cats!"}], "tools": [SEARCH]},
    "bare calls": {"messages": [user("x"), assistant("", tool_calls=[{"name": "search", "arguments": {"query": "q"}}]), {"role": "tool", "name": "search", "content": {"hits": [1, 2.0, None, True]}}], "tools": [SEARCH["function"]]},
    "thinking": {"messages": [user("2+2?"), assistant("<think>\neasy\n</think>\n\n4"), user("3+3?"), assistant("6", reasoning_content="also easy"), user("4+4?")]},
    "thinking field": {"messages": [user("2+2?"), assistant("4", thinking="sum"), user("3+3?"), assistant("", thinking="call", reasoning_content="call", tool_calls=[call("search", {"query": "3+3"})]),
                                    {"role": "tool", "tool_call_id": "call_abc12", "name": "search", "content": "6"}], "tools": [SEARCH]},
    "thinking on": {"messages": [user("Think.")], "enable_thinking": True, "thinking": True},
    "thinking off": {"messages": [{"role": "system", "content": "s"}, user("Do not think."), assistant("<think>no</think>ok"), user("again")], "enable_thinking": False, "thinking": False, "reasoning_effort": "high"},
    "effort": {"messages": [user("Hi")], "reasoning_effort": "low", "date_string": "26 Jul 2024", "thinking_budget": 512, "model_identity": "I am a test."},
    "documents": {"messages": [user("Summarise.")], "documents": [{"title": "T1", "text": "alpha"}, {"title": "T2", "text": "beta", "doc_id": 7}], "custom_tools": [SEARCH["function"]], "builtin_tools": ["wolfram_alpha"]},
    "no messages": {},
    "odd contents": {"messages": [user(5), assistant({"a": 1}), user(["x"])]},
}
TOKENS = {"bos_token": "<s>", "eos_token": "</s>", "unk_token": "<unk>", "pad_token": "<pad>"}


def disguised(value, key=""):
    """The same variables with every string of the user's in characters of the private use area, so that they can be told apart."""
    if isinstance(value, dict):
        return {k: disguised(v, k) for k, v in value.items()}
    if isinstance(value, list):
        return [disguised(v, key) for v in value]
    if isinstance(value, str) and key not in ("role", "type", "add_generation_prompt") and not key.endswith("_token"):
        return "".join(chr(0xE000 + ord(c) % 0x1000) for c in value)
    return value


def leaks(answer):
    """Whether a disguised character stands in a trusted span."""
    text, at, trusted = answer["text"].encode(), 0, b""
    for begin, end in answer["untrusted"] + [[len(text), len(text)]]:
        trusted += text[at:begin] + b"\0"
        at = end
    return any(0xE000 <= ord(c) < 0xF000 for c in trusted.decode())


def main():
    verbose = "-v" in sys.argv
    programs = [a for a in sys.argv[1:] if not a.startswith("-")]
    if len(programs) != 1:
        sys.exit(__doc__)
    templates = sorted(FOLDER.glob("*.jinja")) if FOLDER.is_dir() else []
    if not templates:
        print(f"0 pairs: folder {FOLDER} absent or without *.jinja")
        return 77
    try:
        import jinja_environment as oracle
    except ImportError:
        print("0 pairs: this Python has no jinja2 (pip install jinja2==3.1.6)")
        return 77
    pairs = []
    for path in templates:
        source = path.read_text(encoding="utf-8")
        for name, variables in CONVERSATIONS.items():
            for prompt in (False, True):
                pairs.append((path.name, name, prompt, source, {**TOKENS, "add_generation_prompt": prompt, **variables}))
    requests = "".join(json.dumps({"template": s, "variables": v, "now": oracle.NOW}) + "\n" for _, _, _, s, v in pairs)
    requests += "".join(json.dumps({"template": s, "variables": disguised(v), "now": oracle.NOW}) + "\n" for _, _, _, s, v in pairs)
    done = subprocess.run(programs, input=requests.encode(), stdout=subprocess.PIPE)
    answers = [json.loads(line) for line in done.stdout.decode().split("\n") if line]
    if done.returncode != 0 or len(answers) != 2 * len(pairs):
        print(f"{programs[0]} stopped with {done.returncode} after {len(answers)} of {2 * len(pairs)} renderings")
        return 1
    disguises = [(pair, answer) for pair, answer in zip(pairs, answers[len(pairs):]) if "text" in answer]
    leaking = [pair[:3] for pair, answer in disguises if leaks(answer)]
    for pair in leaking:
        print(f"LEAKS user text into trusted spans: {pair}")
    equal = raised = 0
    for (template, conversation, prompt, source, variables), got in zip(pairs, answers):
        wanted = oracle.render(source, variables)
        if "error" in wanted:
            raised += 1
            good = "error" in got and (not wanted["raised"] or got["error"] == wanted["error"])
        else:
            good = got.get("text") == wanted["text"]
        equal += good
        if not good:
            print(f"DIFFERS {template} / {conversation} / generation prompt {prompt}")
            if verbose:
                print(f"  jinja2:  {json.dumps(wanted, ensure_ascii=False)}\n  tapetum: {json.dumps(got, ensure_ascii=False)}")
    print(f"{len(pairs)} pairs compared ({len(templates)} templates x {len(CONVERSATIONS)} conversations x 2; {raised} raise), {equal} equal; "
          f"{len(disguises) - len(leaking)} of {len(disguises)} renderings keep the user's text apart")
    return 0 if equal == len(pairs) and not leaking else 1


if __name__ == "__main__":
    sys.exit(main())
