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
  static const Names sampling = {"max-tokens", "temperature", "top-p", "top-k", "min-p", "seed"};
  static const Names looking = join(join(model, sampling), {"stop", "system", "background", "dry-run", "force"});
  static const std::vector<Command> table = {
      {"", "IMAGE… \"question\"", "ask about pictures", "", join(join(looking, common), {"version"}), run_look},
      {"describe", "IMAGE…", "say what is in each picture", "", join(looking, common), run_describe},
      {"detect", "\"THING\" IMAGE…", "find things: typed boxes in the picture's own pixels",
       "Boxes are [x1, y1, x2, y2] in pixels of the picture as shown (after EXIF rotation). Nothing found is no "
       "failure.",
       join(join(join(model, sampling), {"system", "background", "output", "dry-run", "force"}), common), run_detect},
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
      {"doctor", "", "what this machine offers, what is missing, and how to fix it",
       "Exit code 0 unless something is broken that stops every answer.", join({"threads"}, common), run_doctor},
      {"bench", "", "speed and memory of a model, as fractions of what this machine can do",
       "Prints one JSON object; progress goes to stderr. Nothing else should run meanwhile.", join(model, common),
       run_bench},
      {"verify", "FOLDER…", "check the engine against reference outputs (goldens)",
       "A golden folder holds manifest.json, its cases and a checkpoint. Exit code 0 only when every stage whose "
       "tensor is present was\n"
       "checked and passed. Always runs in f32.",
       join({"allow-unchecked", "threads"}, common), run_verify},
  };
  return table;
}

}  // namespace

std::span<const Command> commands() { return command_table(); }

}  // namespace tap::cli
