// The `tapetum` program: finds the command, runs it, turns what goes wrong into one line and an exit code.
#include <algorithm>
#include <csignal>
#include <cstdlib>
#include <exception>
#include <new>

#include <fcntl.h>
#include <unistd.h>

#include "base/exec_context.h"
#include "base/file.h"
#include "base/log.h"
#include "cli/commands.h"
#include "cli/interrupt.h"
#include "cli/output.h"
#include "io/url.h"
#include "kernels/isa.h"

namespace tap::cli {

namespace {

constexpr int exit_failed = 1, exit_usage = 2, exit_refused = 3, exit_interrupted = 130;

int exit_code_of(const Error& error) {
  if (error.code() == ErrorCode::cancelled) return exit_interrupted;
  if (error.code() == ErrorCode::refused) return exit_refused;
  return error.code() == ErrorCode::usage ? exit_usage : exit_failed;
}

int report(const Error& error, bool json) {
  const bool on_stdout =
      json && error.code() != ErrorCode::cancelled;  // a reader may have stalled, and half a result be out
  if (on_stdout) {
    try {
      write_json(error_json(error));
    } catch (...) {  // stdout is gone; stderr still says why
    }
  }
  if (!on_stdout || error.code() == ErrorCode::io) print_error(error);
  return exit_code_of(error);
}

// The first word that is no option is the command, when it names one. A word that is no option, no command and no file
// is a mistyped command.
const Command& choose_command(std::vector<std::string>& words) {
  const Command& question = *find_command("");
  std::size_t first = 0;
  while (first < words.size() && words[first] != "--" && words[first].size() > 1 && words[first][0] == '-')
    first += words_of_option(words[first]);
  if (first >= words.size() || words[first].empty() || words[first][0] == '-') return question;
  if (const Command* found = find_command(words[first])) {
    words.erase(words.begin() + static_cast<std::ptrdiff_t>(first));
    return *found;
  }
  if (first > 0 || is_url(words[0]) || file_exists(words[0])) return question;
  std::vector<std::string_view> names;
  for (const Command& command : commands()) names.push_back(command.name);
  std::string hint;
  for (const std::string_view name : nearest(words[0], names))
    if (!name.empty()) hint += fmt::format("{}`{}`", hint.empty() ? "; did you mean " : " or ", name);
  if (hint.empty() && words.size() > 1) return question;  // a picture that is not there: said with the others
  throw Error(ErrorCode::usage, fmt::format("{}: no such command or file{}", words[0], hint), words[0]);
}

// A standard stream that is closed must not become the number of a file we open: one that refuses every use takes its
// place.
void occupy_closed_streams() {
  for (const int fd : {STDIN_FILENO, STDOUT_FILENO, STDERR_FILENO})
    if (::fcntl(fd, F_GETFD) < 0) (void)::open("/dev/null", fd == STDIN_FILENO ? O_WRONLY : O_RDONLY);
}

// Memory may end where no exception can leave (a thread's beginning, a destructor): one line still, no core.
[[noreturn]] void end_without_memory() {
  if (const std::exception_ptr current = std::current_exception()) {
    try {
      std::rethrow_exception(current);
    } catch (const std::bad_alloc&) {
      remove_pending_files();
      constexpr std::string_view line = "tapetum: out of memory\n";
      (void)!::write(STDERR_FILENO, line.data(), line.size());
      ::_exit(exit_failed);
    } catch (...) {
    }
  }
  std::abort();
}

int run(int count, char** arguments) {
  bool json = false;
  for (int i = 1; i < count && std::string_view(arguments[i]) != "--"; ++i)
    json |= std::string_view(arguments[i]) == "--json";
  try {
    std::vector<std::string> words(arguments + std::min(count, 1), arguments + count);
    const bool bare = words.empty();
    const Command& command = choose_command(words);
    const Options options = parse(command, words);
    if (options.version) return write_out("tapetum " TAPETUM_VERSION "\n"), 0;
    if (options.help) return write_out(help_text(command)), 0;
    if (bare) return write_out(help_text()), exit_usage;
    log::set_level(options.quiet ? log::Level::quiet : options.verbose ? log::Level::verbose : log::Level::normal);
    ExecContext context(static_cast<int>(options.threads));
    const ExecContext::Scope scope(context);
    const InterruptScope interrupts(context);
    active_isa();  // a wrong TAPETUM_ISA is reported before any work
    log::info("cpu: {}, {} threads", describe_isa(), context.threads());
    return command.run(options);
  } catch (const PipeClosed&) {
    return exit_failed;
  } catch (const Error& error) {
    return report(error, json);
  } catch (const std::bad_alloc&) {
    return report(Error(ErrorCode::out_of_memory, "out of memory"), json);
  } catch (const std::exception& error) {
    return report(Error(ErrorCode::internal, fmt::format("internal error (please report it): {}", error.what())), json);
  }
}

}  // namespace

}  // namespace tap::cli

int main(int argc, char** argv) {
  ::signal(SIGPIPE, SIG_IGN);  // a reader that left is EPIPE, also for --help
  tap::cli::occupy_closed_streams();
  std::set_terminate(tap::cli::end_without_memory);
  return tap::cli::run(argc, argv);
}
