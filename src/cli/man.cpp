// tapetum man [COMMAND]: manual pages in roff, from the tables of commands and flags.
#include <fmt/format.h>
#include <fmt/ranges.h>

#include "cli/commands.h"
#include "cli/completion_words.h"
#include "cli/output.h"

namespace tap::cli {

namespace {

// One code point of valid UTF-8, taken off the front.
std::uint32_t take_code_point(std::string_view& text) {
  const auto byte = static_cast<unsigned char>(text.front());
  const std::size_t size = byte < 0x80 ? 1 : byte < 0xE0 ? 2 : byte < 0xF0 ? 3 : 4;
  std::uint32_t code = size == 1 ? byte : byte & (0xFFu >> (size + 1));
  for (std::size_t i = 1; i < size && i < text.size(); ++i)
    code = code << 6 | (static_cast<unsigned char>(text[i]) & 0x3Fu);
  text.remove_prefix(std::min(size, text.size()));
  return code;
}

// Text as roff prints it: no escape, no request, and no typographic quote or dash where a shell wants ASCII
// (groff_char).
std::string roff(std::string_view text) {
  std::string out;
  bool line_start = true;
  while (!text.empty()) {
    const std::uint32_t c = take_code_point(text);
    if (line_start && (c == '.' || c == '\'')) out += "\\&";
    line_start = c == '\n';
    switch (c) {
      case '\\': out += "\\e"; break;
      case '-': out += "\\-"; break;
      case '\'': out += "\\(aq"; break;
      case '`': out += "\\(ga"; break;
      case '^': out += "\\(ha"; break;
      case '~': out += "\\(ti"; break;
      default:
        if (c < 0x80)
          out += static_cast<char>(c);
        else
          out += fmt::format("\\[u{:04X}]", c);
    }
  }
  return out;
}

std::string header(std::string_view name) {
  std::string title(name);
  for (char& c : title) c = c >= 'a' && c <= 'z' ? static_cast<char>(c - 'a' + 'A') : c;
  return fmt::format(".TH {} 1 \"\" \"tapetum {}\" \"User Commands\"\n.nh\n.ad l\n", roff(title), TAPETUM_VERSION);
}

// "tapetum describe IMAGE…", bold as far as it is typed as it stands.
std::string synopsis(const Command& command) {
  const std::string typed = command.name.empty() ? "tapetum" : fmt::format("tapetum {}", command.name);
  return fmt::format(".B {}\n{}{}[\\fIOPTIONS\\fR]\n", roff(typed), roff(command.usage),
                     command.usage.empty() ? "" : "\n");
}

std::string options_section(const Command& command) {
  std::string text = ".SH OPTIONS\n";
  for (const std::string_view name : command.flags) {
    const Flag& f = flag(name);
    std::vector<std::string> names;
    for (const std::string& option : options_of(f)) names.push_back("\\fB" + roff(option) + "\\fR");
    text += fmt::format(".TP\n{}", fmt::join(names, ", "));
    if (!f.value.empty()) text += fmt::format(" \\fI{}\\fR", roff(f.value));
    text += fmt::format("\n{}\n", roff(f.help));
  }
  return text;
}

constexpr std::string_view exit_status = R"(.SH "EXIT STATUS"
.TP
.B 0
done
.TP
.B 1
failed; stderr says why in one line
.TP
.B 2
wrong use
.TP
.B 3
refused by a guard
.TP
.B 130
interrupted
)";

constexpr std::string_view environment = R"(.SH ENVIRONMENT
.TP
.B HF_HUB_CACHE\fR, \fBHF_HOME
where the hub cache lies that \fIorg/name\fR is looked for in (default: ~/.cache/huggingface)
.TP
.B TAPETUM_DATA
the folder that holds nano, the embedded model (default: share/tapetum of the installation)
.TP
.B TAPETUM_PACKED_CACHE
the folder of packed weights (default: ~/.cache/tapetum/packed), or off; see tapetum cache
.TP
.B TAPETUM_ISA
the best instruction set to use: scalar, sse4, avx2, avx512, avx512_vnni, avx512_bf16 or amx
.SH EXAMPLES
.nf
tapetum roof.png "What is on the roof?"
tapetum describe *.png
tapetum detect "bird on the roof" roof.png \-o found.png
.fi
)";

}  // namespace

std::string man_page() {
  const Command& question = *find_command("");
  std::string text = header("tapetum") +
                     ".SH NAME\ntapetum \\- ask about pictures, on your own machine\n.SH SYNOPSIS\n" +
                     synopsis(question);
  for (const Command& command : commands())
    if (!command.name.empty()) text += ".br\n" + synopsis(command);
  text +=
      ".SH DESCRIPTION\nA vision\\-language engine: pictures and a question in, an answer out. Results go to standard "
      "output, the "
      "rest to standard error.\nThe first word that is no option may be a command; ./describe or \\-\\- names a file "
      "of "
      "that name.\n.SH COMMANDS\n";
  for (const Command& command : commands())
    if (!command.name.empty()) text += fmt::format(".TP\n.B {}\n{}\n", roff(command.name), roff(command.summary));
  text += options_section(question);
  text += exit_status;
  text += environment;
  text += ".SH \"SEE ALSO\"\n";
  const auto names = command_names();
  for (std::size_t i = 0; i < names.size(); ++i)
    text += fmt::format(".BR tapetum\\-{} (1){}\n", roff(names[i]), i + 1 < names.size() ? "," : "");
  return text;
}

std::string man_page(const Command& command) {
  if (command.name.empty()) return man_page();
  std::string text = header(fmt::format("tapetum-{}", command.name));
  text += fmt::format(".SH NAME\ntapetum\\-{} \\- {}\n.SH SYNOPSIS\n{}.SH DESCRIPTION\n{}\n", roff(command.name),
                      roff(command.summary), synopsis(command), roff(command.summary));
  if (!command.details.empty()) text += fmt::format(".PP\n{}\n", roff(command.details));
  text += options_section(command);
  text += exit_status;
  return text + ".SH \"SEE ALSO\"\n.BR tapetum (1)\n";
}

int run_man(const Options& options) {
  if (options.words.size() > 1) fail(ErrorCode::usage, "man takes one command at most; see tapetum man --help");
  const std::string name = options.words.empty() ? "" : options.words[0];
  const Command* command = find_command(name);
  if (!command)
    throw Error(ErrorCode::usage,
                fmt::format("man: no command {}; there are {}", name, fmt::join(command_names(), ", ")), name);
  const std::string page = man_page(*command);
  if (options.json)
    write_json({{"page", name.empty() ? "tapetum" : "tapetum-" + name}, {"roff", page}});
  else
    write_out(page);
  return 0;
}

}  // namespace tap::cli
