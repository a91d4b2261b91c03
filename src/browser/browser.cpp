#include "browser/browser.h"

#include <array>
#include <cerrno>
#include <csignal>
#include <cstdlib>
#include <cstring>
#include <filesystem>
#include <fstream>

#include <fcntl.h>
#include <spawn.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/log.h"

namespace tap::browser {

namespace {

constexpr int lowest_fd = 64;  // above the numbers that the browser finds its own under
constexpr double leaving_s = 2;

// What it would do besides showing the pages that it is told to: fetch, update, report, ask.
constexpr std::array own_flags = {"--headless",
                                  "--remote-debugging-pipe",
                                  "--no-first-run",
                                  "--no-default-browser-check",
                                  "--no-pings",
                                  "--disable-background-networking",
                                  "--disable-component-update",
                                  "--disable-sync",
                                  "--disable-extensions",
                                  "--disable-default-apps",
                                  "--disable-breakpad",
                                  "--disable-client-side-phishing-detection",
                                  "--disable-domain-reliability",
                                  "--disable-features=Translate,OptimizationHints,MediaRouter,"
                                  "InterestFeedContentSuggestions,AutofillServerCommunication",
                                  "--disable-gpu",
                                  "--disable-dev-shm-usage",
                                  "--mute-audio",
                                  "--password-store=basic",
                                  "--use-mock-keychain",
                                  "--force-color-profile=srgb",
                                  "--disable-backgrounding-occluded-windows",
                                  "--disable-renderer-backgrounding"};

std::string on_path(std::string_view name) {
  const char* path = std::getenv("PATH");
  std::string_view rest = path ? path : "/usr/bin:/bin";
  while (!rest.empty()) {
    const std::size_t colon = rest.find(':');
    std::string at = std::string(rest.substr(0, colon)) + "/" + std::string(name);
    if (at.front() == '/' && ::access(at.c_str(), X_OK) == 0) return at;
    rest.remove_prefix(colon == std::string_view::npos ? rest.size() : colon + 1);
  }
  return {};
}

// Pages are strangers: the browser gets none of what else stands in our environment, keys among it.
std::vector<std::string> environment_for(const std::string& home) {
  std::vector<std::string> all = {"HOME=" + home, "XDG_CONFIG_HOME=" + home, "XDG_CACHE_HOME=" + home,
                                  "TMPDIR=" + home};
  for (const char* name : {"PATH", "LANG", "LC_ALL", "TZ", "FONTCONFIG_FILE", "LD_LIBRARY_PATH"})
    if (const char* value = std::getenv(name)) all.push_back(fmt::format("{}={}", name, value));
  return all;
}

std::vector<char*> pointers(std::vector<std::string>& words) {
  std::vector<char*> all;
  for (std::string& word : words) all.push_back(word.data());
  all.push_back(nullptr);
  return all;
}

}  // namespace

std::string find_browser() {
  if (const char* given = std::getenv("TAPETUM_BROWSER"); given && *given) return given;
  for (const char* name : {"chromium", "chromium-browser", "google-chrome-stable", "google-chrome", "chrome"})
    if (std::string found = on_path(name); !found.empty()) return found;
  return {};
}

struct Browser::Process {
  std::string profile;
  pid_t pid = -1;

  Process() {
    std::string pattern = (std::filesystem::temp_directory_path() / "tapetum-browser-XXXXXX").string();
    if (!::mkdtemp(pattern.data()))
      fail(ErrorCode::io, "{}: no folder for the browser: {}", pattern, std::strerror(errno));
    profile = pattern;
  }
  Process(const Process&) = delete;
  Process& operator=(const Process&) = delete;
  ~Process() {
    if (pid > 0) end();
    std::error_code error;
    for (int i = 0; i < 20; ++i) {  // its last processes may still write while they die
      std::filesystem::remove_all(profile, error);
      if (!error) return;
      ::usleep(50'000);
    }
    log::warn("{}: the browser's folder cannot be removed: {}", profile, error.message());
  }

  bool over(double seconds) {
    const Deadline deadline = in_seconds(seconds);
    for (;;) {
      const pid_t got = ::waitpid(pid, nullptr, WNOHANG);
      if (got == pid || (got < 0 && errno != EINTR)) return true;
      if (std::chrono::steady_clock::now() >= deadline) return false;
      ::usleep(5000);
    }
  }
  void end() {
    const bool gone = over(leaving_s);
    ::kill(-pid, SIGKILL);  // what it has started too
    if (!gone)
      while (::waitpid(pid, nullptr, 0) < 0 && errno == EINTR) {
      }
  }

  Fd start(const std::string& program, const BrowserOptions& options) {
    int pair[2];
    if (::socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair) != 0)
      fail(ErrorCode::io, "no socket for the browser: {}", std::strerror(errno));
    Fd ours(pair[0]), low(pair[1]);
    const Fd theirs(::fcntl(low.get(), F_DUPFD_CLOEXEC, lowest_fd));
    if (theirs.get() < 0) fail(ErrorCode::io, "no socket for the browser: {}", std::strerror(errno));
    std::vector<std::string> words = {program};
    words.insert(words.end(), own_flags.begin(), own_flags.end());
    words.push_back("--user-data-dir=" + profile);
    words.push_back(fmt::format("--window-size={},{}", options.width, options.height));
    if (::geteuid() == 0) words.emplace_back("--no-sandbox");  // Chromium's own cannot be set up by root
    words.insert(words.end(), options.flags.begin(), options.flags.end());
    words.emplace_back("about:blank");
    std::vector<std::string> variables = environment_for(profile);

    posix_spawn_file_actions_t actions;
    ::posix_spawn_file_actions_init(&actions);
    ::posix_spawn_file_actions_addopen(&actions, 0, "/dev/null", O_RDONLY, 0);
    ::posix_spawn_file_actions_addopen(&actions, 1, "/dev/null", O_WRONLY, 0);
    ::posix_spawn_file_actions_addopen(&actions, 2, (profile + "/said").c_str(), O_WRONLY | O_CREAT | O_APPEND, 0600);
    ::posix_spawn_file_actions_adddup2(&actions, theirs.get(), 3);  // commands
    ::posix_spawn_file_actions_adddup2(&actions, theirs.get(), 4);  // answers and events
    posix_spawnattr_t attributes;  // Ctrl-C is ours to take, and signals begin as a program finds them
    ::posix_spawnattr_init(&attributes);
    ::posix_spawnattr_setflags(&attributes, POSIX_SPAWN_SETPGROUP | POSIX_SPAWN_SETSIGMASK | POSIX_SPAWN_SETSIGDEF);
    ::posix_spawnattr_setpgroup(&attributes, 0);
    sigset_t none, usual;
    ::sigemptyset(&none);
    ::sigfillset(&usual);
    ::posix_spawnattr_setsigmask(&attributes, &none);
    ::posix_spawnattr_setsigdefault(&attributes, &usual);
    const int failed =
        ::posix_spawn(&pid, program.c_str(), &actions, &attributes, pointers(words).data(), pointers(variables).data());
    ::posix_spawn_file_actions_destroy(&actions);
    ::posix_spawnattr_destroy(&attributes);
    if (failed != 0) {
      pid = -1;
      throw Error(failed == ENOENT ? ErrorCode::not_found : ErrorCode::io,
                  fmt::format("{}: cannot start the browser: {}", program, std::strerror(failed)), program);
    }
    return ours;
  }

  // The last line that it wrote, for an error's message.
  std::string said() const {
    std::string line, last;
    for (std::ifstream file(profile + "/said"); std::getline(file, line);)
      if (!line.empty()) last = line.substr(0, 300);
    return last.empty() ? "" : ": " + log::one_line(last);
  }
};

Browser::Browser(BrowserOptions options) : options_(std::move(options)) {
  const std::string program = options_.program.empty() ? find_browser() : options_.program;
  if (program.empty())
    throw Error(ErrorCode::not_found,
                "there is no Chromium: install it (Debian: chromium), or name it in TAPETUM_BROWSER",
                "TAPETUM_BROWSER");
  process_ = std::make_unique<Process>();
  connection_ = std::make_shared<Connection>(process_->start(program, options_));
  try {
    call("Browser.getVersion", {});
  } catch (const Error& error) {
    if (error.code() != ErrorCode::io) throw;
    throw Error(ErrorCode::io, fmt::format("{}: {}{}", program, error.message(), process_->said()), program);
  }
  call("Browser.setDownloadBehavior", {{"behavior", "deny"}});
}

Browser::Browser(Fd socket, BrowserOptions options)
    : options_(std::move(options)), connection_(std::make_shared<Connection>(std::move(socket))) {}

Browser::Browser(Browser&&) noexcept = default;

Browser::~Browser() {
  if (!process_) return;
  try {
    connection_->post("Browser.close", {}, "");
  } catch (const Error&) {
    // It is gone, or will be made to go.
  }
}

Json Browser::call(std::string_view method, const Json& params) {
  return connection_->call(method, params, "", in_seconds(options_.patience_s));
}

Tab Browser::open(const std::string& url) {
  const Json target = call("Target.createTarget", {{"url", "about:blank"}});
  const std::string id = text_at(target, "targetId");
  const Json attached = call("Target.attachToTarget", {{"targetId", id}, {"flatten", true}});
  Tab tab(connection_, id, text_at(attached, "sessionId"), options_.patience_s);
  if (url != "about:blank") tab.go(url);
  return tab;
}

std::string Browser::version() { return text_at(call("Browser.getVersion", {}), "product"); }

void Browser::grant(const std::string& origin, const std::vector<std::string>& permissions) {
  call("Browser.grantPermissions", {{"origin", origin}, {"permissions", permissions}});
}

}  // namespace tap::browser
