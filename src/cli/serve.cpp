// tapetum serve
#include <algorithm>
#include <atomic>
#include <chrono>
#include <cstdlib>
#include <limits>
#include <thread>

#include <poll.h>
#include <sys/resource.h>

#include "base/log.h"
#include "cli/asking.h"
#include "cli/commands.h"
#include "cli/interrupt.h"
#include "cli/output.h"
#include "server/server.h"

namespace tap::cli {

namespace {

constexpr int drain_seconds = 10;

// Every connection is a descriptor.
void raise_descriptor_limit() {
  rlimit limit{};
  if (::getrlimit(RLIMIT_NOFILE, &limit) != 0) return;
  limit.rlim_cur = limit.rlim_max;
  (void)::setrlimit(RLIMIT_NOFILE, &limit);
}

// The first signal lets requests that are there get their answers, for some seconds; the second ends the program.
class Stopper {
 public:
  Stopper(server::Server& server, ExecContext& context)
      : server_(server), context_(context), fd_(wake_fd()), thread_([this] { wait(); }) {}
  ~Stopper() {
    over_ = true;
    wake();
    thread_.join();
  }
  void serving() { serving_ = true; }  // before, a signal ends the loading

 private:
  void wait() {
    while (interruption() == Interruption::none) {
      pollfd one{fd_, POLLIN, 0};
      (void)::poll(&one, 1, -1);
      if (over_) return;
    }
    if (!serving_) return context_.cancel();
    log::info("no new requests; those that are there have {} s", drain_seconds);
    server_.drain();
    for (int i = 0; i < drain_seconds * 20 && !over_; ++i) std::this_thread::sleep_for(std::chrono::milliseconds(50));
    if (!over_) server_.stop();
  }
  server::Server& server_;
  ExecContext& context_;
  int fd_;
  std::atomic<bool> over_{false}, serving_{false};
  std::thread thread_;
};

}  // namespace

int run_serve(const Options& options) {
  if (!options.words.empty()) fail(ErrorCode::usage, "serve takes no words, got \"{}\"", options.words[0]);
  server::ServerOptions how;
  how.http.host = options.host;
  how.http.port = static_cast<std::uint16_t>(options.port);
  how.media.allow_private = options.allow_private;
  how.generate.max_tokens = std::numeric_limits<std::int32_t>::max();  // what the context leaves
  how.generate.lookup = options.lookup == "off" ? Lookup::off : Lookup::automatic;
  how.keys = options.api_keys;
  if (const char* key = std::getenv("TAPETUM_API_KEY"); key && *key) how.keys.emplace_back(key);
  if (std::ranges::find(how.keys, "") != how.keys.end()) throw Error(ErrorCode::usage, "--api-key: is empty", "api-key");
  how.http.hosts = options.allow_hosts;
  if (how.keys.empty() && !server::is_loopback(options.host))
    throw Error(ErrorCode::usage,
                fmt::format("--host {}: others could reach it, and there is no --api-key (or TAPETUM_API_KEY)", options.host),
                "host");
  raise_descriptor_limit();
  ExecContext context(static_cast<int>(options.threads));  // not the one that a signal cancels
  const ExecContext::Scope scope(context);
  server::Server server(how);
  Stopper stopper(server, context);
  auto [model, sequences] = load_model_for(options, {}, std::numeric_limits<Dim>::max());
  const server::EngineOptions engine{.sequences = sequences, .context = options.context};
  server.run(std::move(model), engine, context, [&] {
    stopper.serving();
    const std::string address =
        fmt::format("http://{}:{}", options.host.find(':') == std::string::npos ? options.host : "[" + options.host + "]",
                    server.port());
    if (options.json)
      write_json({{"ready", address}, {"model", options.model}});
    else
      write_out(fmt::format("tapetum serves {} on {}\n", options.model, address));
  });
  return 0;
}

}  // namespace tap::cli
