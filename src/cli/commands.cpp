#include "cli/commands.h"

namespace tap::cli {

namespace {

using Names = std::vector<std::string_view>;

Names join(Names first, const Names& second) {
  first.insert(first.end(), second.begin(), second.end());
  return first;
}

const std::vector<Command>& command_table() {
  static const Names common = {"json", "quiet", "verbose", "help"};
  static const Names model = {"model", "dtype", "threads"};
  static const Names sampling = {"max-tokens", "temperature", "top-p", "top-k", "min-p", "seed", "lookup"};
  static const Names picture = {"background", "frame", "allow-private"};
  static const Names video = {"frames", "fps", "start", "end", "change"};
  static const Names form = {"choices", "regex", "schema", "grammar", "logprobs"};
  static const Names talking =
      join(join(join(model, sampling), {"stop", "system", "context", "guard", "policy"}), picture);
  static const Names looking = join(join(talking, form), {"force"});
  static const Names many = {"clipboard", "batch", "jsonl", "dry-run"};
  static const Names finding =
      join(join(join(join(join(model, sampling), {"system", "output", "context", "guard", "policy", "force"}),
                     {"annotations", "format", "masks", "mask-weights", "loc-div", "points", "raw-prompt", "resume"}),
                join(picture, many)),
           common);
  static const std::vector<Command> table = {
      {"", "IMAGE… \"question\"", "ask about pictures", "",
       join(join(join(join(looking, video), many), common), {"explain", "version"}), run_look},
      {"describe", "IMAGE…", "say what is in each picture", "", join(join(join(looking, video), many), common),
       run_describe},
      {"chat", "[IMAGE…]", "talk about pictures",
       "A picture's path in a line attaches it; /help in the conversation lists the commands. When stdin is no "
       "terminal, "
       "each line is a turn.",
       join(join(talking, {"force"}), common), run_chat},
      {"detect", "\"THINGS\" IMAGE…", "find things: typed boxes in the picture's own pixels",
       "Several things in one go: \"bird ; window and how many trees\". Boxes are [x1, y1, x2, y2] in pixels of the "
       "picture "
       "as shown (after EXIF\nrotation). Nothing found is no failure.",
       finding, run_detect},
      {"segment", "\"THINGS\" IMAGE…", "find things: boxes and masks (PaliGemma)",
       "Masks need the weights of their decoder, vae-oid.npz of big_vision: --mask-weights, or that file beside the "
       "model.",
       finding, run_segment},
      {"count", "\"THINGS\" IMAGE…", "count things: by asking how many, and by finding them",
       "Both numbers are in the JSON, and whether they agree; without --json the answer counts, and disagreement is "
       "said.",
       finding, run_count},
      {"batch", "REQUESTS.jsonl|-", "answer a file of questions, one JSON line each",
       "A request is {\"image\" or \"images\", \"question\"} or {\"messages\"}, with \"id\", \"system\", "
       "\"max_tokens\", "
       "\"temperature\", \"top_p\", \"top_k\",\n\"min_p\", \"seed\", \"stop\" as it likes; or {\"task\": \"detect\", "
       "\"segment\" or \"count\", \"image\", "
       "\"thing\"}. Paths are relative to the file's folder.\nResults are JSON lines in order of completion; each has "
       "the request's id and index. A request that fails stops no other.",
       join(join(looking, {"batch", "output", "resume", "mask-weights", "loc-div", "points", "raw-prompt"}), common),
       run_batch},
      {"guard", "IMAGE|TEXT…", "judge pictures and texts by safety policies; exit code 3 when one is refused",
       "A word that names no picture is a text. Pictures are judged by ShieldGemma 2 or nano, texts by ShieldGemma 1: "
       "-m names one,\n--guard others. `tapetum guard calibrate --labels FILE.csv [-o thresholds.json]` measures "
       "thresholds on labelled examples.",
       join(join(model, {"guard", "policy", "policy-text", "threshold", "labels", "output", "allow-private", "force"}),
            common),
       run_guard},
      {"watch", "VIDEO|/dev/videoN [\"question\"]", "say what is seen, a line each time the scene changes",
       "A line is \"MM:SS text\" (--json: an object). Frames are taken --fps times a second (default 1); one that is "
       "like "
       "the one described last\n(--change, default exact: equal to the bit) is passed over. --stream keeps the "
       "source's "
       "own speed and leaves frames out to keep up.",
       join(join(join(talking, {"fps", "start", "end", "change", "stream", "force"}), common), {}), run_watch},
      {"act", "\"INSTRUCTION\" SCREENSHOT",
       "what to do next on a screen: click, type, scroll, in the screenshot's pixels",
       "Asks UI-TARS-1.5 as it was trained, or nano for a click. Nothing is done: the actions are printed.",
       join(join(join(model, sampling), {"context", "guard", "policy", "mobile", "force"}), join(picture, common)),
       run_act},
      {"serve", "", "answer over HTTP, as OpenAI's API does",
       "Prints one line once it answers. Routes as OpenAI has them, and more: docs/guide/server.md. -m may be repeated "
       "(NAME=MODEL gives a name). "
       "SIGTERM and\nCtrl-C let the requests that are there get their answers, for 10 seconds; a second one ends it at "
       "once.",
       join(join(model, {"host", "port", "api-key", "allow-host", "tls-cert", "tls-key", "memory", "guard", "policy",
                         "queue", "request-log", "lookup", "context", "batch", "allow-private", "force"}),
            common),
       run_serve},
      {"compare", "MODEL MODEL… IMAGE \"question\"", "the same question to several models, side by side",
       "One model is in memory at a time. --json says whether the answers are the same, and the times of each.",
       join(join(join(Names{"dtype", "threads"}, sampling),
                 {"stop", "system", "context", "guard", "policy", "force", "frames", "fps", "start", "end", "change"}),
            join(picture, common)),
       run_compare},
      {"tokenize", "MODEL [TEXT|-]", "text to token ids; --decode for ids to text",
       "Text is read as a trusted prompt: special tokens in it are recognised. Without TEXT, or with -, it comes from "
       "stdin.",
       join({"decode"}, common), run_tokenize},
      {"render", "MODEL|FILE.jinja", "the exact prompt that a chat template makes of messages",
       "The file of --messages holds {messages, tools?, add_generation_prompt?, bos_token?, …}: all become variables "
       "of the template.",
       join({"messages"}, common), run_render},
      {"show", "MODEL", "configuration, parts, tensors and memory plan of a model", "", join({"dtype"}, common),
       run_show},
      {"list", "", "models in the local hub cache, and the embedded one", "", common, run_list},
      {"pull", "ORG/NAME[@REVISION]", "download a model from the hub into its local cache",
       "Only what a model needs: settings, tokenizer, templates and safetensors; never pickles. A download that was "
       "cut "
       "goes on where it\nstopped. HF_ENDPOINT, HF_TOKEN, HF_HUB_OFFLINE, HF_HOME and HF_HUB_CACHE are honoured.",
       join({"allow-private"}, common), run_pull},
      {"rm", "ORG/NAME", "remove a model from the local hub cache, and its packed weights", "", join({"yes"}, common),
       run_rm},
      {"cache", "[clear [MODEL…]]", "packed weights that are kept for the next start: list them, or free their space",
       "Each file is the copy of one model's weights in one type, as they lie in memory. `tapetum cache clear` removes "
       "all of them, or those of the\nmodels that it names; the next start of such a model packs anew. "
       "TAPETUM_PACKED_CACHE names another folder, or is off.",
       common, run_cache},
      {"doctor", "", "what this machine offers, what is missing, and how to fix it",
       "Exit code 0 unless something is broken that stops every answer.", join({"threads"}, common), run_doctor},
      {"quantize", "FOLDER [IMAGE…]",
       "write a model's folder anew with its matrices in q8 or q4, and say what it costs",
       "`tapetum -m FOLDER` then loads it as any other, with the same numbers as --dtype q8 or q4 of the source gives. "
       "The report: the error of\nevery matrix, and perplexity and next-token choices in f32 and in the new weights, "
       "over the texts of --text (else a short built-in one)\nand over what f32 answers about the pictures.",
       join(join(Names{"model", "dtype", "threads", "text", "question", "max-tokens", "force"}, picture), common),
       run_quantize},
      {"bench", "", "speed and memory of a model, as fractions of what this machine can do",
       "Prints one JSON object; progress goes to stderr. Nothing else should run meanwhile. --profile prints a table "
       "of operations instead\n(--json: as an array).",
       join(join(model, {"profile"}), common), run_bench},
      {"verify", "FOLDER…", "check the engine against reference outputs (goldens)",
       "A golden folder holds manifest.json, its cases and a checkpoint. Exit code 0 only when every stage whose "
       "tensor is present was\n"
       "checked and passed. Runs in f32; another --dtype measures its errors against the same goldens instead.",
       join({"allow-unchecked", "dtype", "threads"}, common), run_verify},
      {"completions", "bash|zsh|fish", "a script that completes commands, options and models in a shell",
       "An installation has them in place. Otherwise: source <(tapetum completions bash).", common, run_completions},
      {"man", "[COMMAND]", "a manual page in roff: tapetum man | man -l -", "", common, run_man},
  };
  return table;
}

}  // namespace

std::span<const Command> commands() { return command_table(); }

}  // namespace tap::cli
