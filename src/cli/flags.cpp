// The flag table: one record gives parsing, --help, completions, the man page and the tests of all of them.
#include <vector>

#include "cli/options.h"

namespace tap::cli {

namespace {

constexpr double int_max = 2147483647.0;

}  // namespace

std::span<const Flag> flags() {
  static const std::vector<Flag> table = {
      {"model", 'm', "MODEL",
       "a folder in the hub's format, or org/name in the local hub cache (default: the embedded nano)",
       &Options::model},
      {"max-tokens", 0, "N", "at most N tokens of answer (default 512)", &Options::max_tokens, 1, int_max},
      {"temperature", 0, "T", "0 takes the likeliest token; higher is more varied (default: the model's own, else 0)",
       &Options::temperature, 0, 100},
      {"top-p", 0, "P", "sample among the likeliest tokens that together reach P", &Options::top_p, 0, 1},
      {"top-k", 0, "K", "sample among the K likeliest tokens; 0 = all", &Options::top_k, 0, int_max},
      {"min-p", 0, "P", "drop tokens less likely than P times the likeliest", &Options::min_p, 0, 1},
      {"seed", 0, "N", "the same seed gives the same tokens", &Options::seed, 0, 9007199254740992.0},
      {"stop", 0, "TEXT", "end the answer before TEXT; may be given several times", &Options::stop},
      {"threads", 't', "N", "CPU threads (default: those this process may use)", &Options::threads, 1, 4096},
      {"dtype",
       0,
       "TYPE",
       "how weights are kept: auto, f32, bf16, q8, q4",
       &Options::dtype,
       0,
       0,
       {"auto", "f32", "bf16", "q8", "q4"}},
      {"system", 0, "TEXT", "a system message before the question", &Options::system},
      {"background",
       0,
       "COLOR",
       "what transparent pictures are laid on: white, or none (plain RGB)",
       &Options::background,
       0,
       0,
       {"white", "none"}},
      {"output", 'o', "FILE", "write to FILE: the picture with the boxes drawn (detect, PNG), the results (batch)",
       &Options::output},
      {"frame", 0, "N", "which picture of an animated or many-page file, counted from 0 (default 0)", &Options::frame,
       0, 1'000'000},
      {"clipboard", 0, "", "look at the picture in the clipboard", &Options::clipboard},
      {"allow-private", 0, "", "fetch URLs from private, loopback and link-local addresses too",
       &Options::allow_private},
      {"dry-run", 0, "", "say what it would take (tokens, sizes, memory, seconds), and do nothing", &Options::dry_run},
      {"force", 0, "", "run even when the plan says that memory will not suffice", &Options::force},
      {"choices", 0, "A,B,…", "the answer is exactly one of these", &Options::choices},
      {"regex", 0, "PATTERN", "the answer matches PATTERN as a whole", &Options::regex},
      {"schema", 0, "FILE", "the answer is JSON that the JSON Schema in FILE allows", &Options::schema},
      {"logprobs", 0, "", "with --json: the log-probability of every token of the answer", &Options::logprobs},
      {"jsonl", 0, "", "print one JSON line per item as soon as it is done", &Options::jsonl},
      {"resume", 0, "", "with -o: keep what the file holds already and do the rest", &Options::resume},
      {"batch", 0, "N", "at most N questions at once (default: what memory allows, up to 16)", &Options::batch, 1,
       1024},
      {"context", 0, "N", "at most N tokens of prompt and answer (default: the model's)", &Options::context, 1,
       int_max},
      {"messages", 0, "FILE", "JSON with messages and any other variable of the template; - is stdin",
       &Options::messages},
      {"allow-unchecked", 0, "CASE:STAGE",
       "do not fail when this stage has a tensor but cannot be checked; may be repeated", &Options::allow_unchecked},
      {"guard", 0, "MODEL[:T][@in|out]",
       "judge pictures and questions (@in) and answers (@out) with MODEL first; refused from probability T (default "
       "0.5); may be repeated",
       &Options::guards},
      {"policy", 0, "NAME", "judge by this policy of the guard; may be repeated (default: all)", &Options::policies},
      {"policy-text", 0, "NAME=TEXT", "judge by a policy of your own; may be repeated", &Options::policy_texts},
      {"threshold", 0, "T|FILE", "flagged from probability T on (default 0.5), or as a file of guard calibrate says",
       &Options::threshold},
      {"labels", 0, "FILE", "CSV with the columns image or text, policy, violates", &Options::labels},
      {"decode", 0, "", "take ids, print text", &Options::decode},
      {"yes", 'y', "", "do not ask", &Options::yes},
      {"json", 0, "", "print JSON", &Options::json},
      {"quiet", 'q', "", "no warnings, no progress", &Options::quiet},
      {"verbose", 'v', "", "say what is done and how long it takes, on stderr", &Options::verbose},
      {"help", 'h', "", "show this help", &Options::help},
      {"version", 0, "", "show the version", &Options::version},
  };
  return table;
}

}  // namespace tap::cli
