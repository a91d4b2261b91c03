#include "browser/browser.h"

#include <array>
#include <cerrno>
#include <csignal>
#include <cstdlib>
#include <cstring>
#include <filesystem>
#include <fstream>

#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/child_program.h"
#include "base/fd_message.h"
#include "base/log.h"

namespace tap::browser {

namespace {

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
    auto [ours, theirs] = socket_pair(SOCK_STREAM);
    if (ours.get() < 0) fail(ErrorCode::io, "no socket for the browser: {}", std::strerror(errno));
    std::vector<std::string> words = {program};
    words.insert(words.end(), own_flags.begin(), own_flags.end());
    words.push_back("--user-data-dir=" + profile);
    words.push_back(fmt::format("--window-size={},{}", options.width, options.height));
    if (::geteuid() == 0) words.emplace_back("--no-sandbox");  // Chromium's own cannot be set up by root
    words.insert(words.end(), options.flags.begin(), options.flags.end());
    words.emplace_back("about:blank");
    // Commands come in through 3; answers and events go out through 4.
    pid = start_child({.path = program,
                       .arguments = std::move(words),
                       .environment = environment_for(profile),
                       .descriptors = {{theirs.get(), 3}, {theirs.get(), 4}},
                       .said = profile + "/said"});
    if (pid < 0)
      throw Error(pid == -ENOENT ? ErrorCode::not_found : ErrorCode::io,
                  fmt::format("{}: cannot start the browser: {}", program, std::strerror(-pid)), program);
    return std::move(ours);
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
