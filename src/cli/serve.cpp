// tapetum serve
#include <algorithm>
#include <atomic>
#include <cerrno>
#include <chrono>
#include <cmath>
#include <cstdlib>
#include <filesystem>
#include <limits>
#include <thread>

#include <fcntl.h>
#include <poll.h>
#include <sys/resource.h>
#include <unistd.h>

#include "base/file.h"
#include "base/log.h"
#include "base/memory.h"
#include "cli/asking.h"
#include "cli/commands.h"
#include "cli/guarding.h"
#include "cli/interrupt.h"
#include "cli/output.h"
#include "io/embedded.h"
#include "server/server.h"

namespace tap::cli {

namespace {

constexpr int drain_seconds = 10;
constexpr std::uint64_t room_beside_large = std::uint64_t{32} << 20;  // for the other answers

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

// "6G", "1.5GB", "800M": powers of 1000, as everything else counts bytes.
Dim bytes_of(const std::string& text) {
  std::size_t used = 0;
  double number = -1;
  try {
    number = std::stod(text, &used);
  } catch (const std::exception&) {
  }
  std::string_view unit = std::string_view(text).substr(used);
  if (unit.ends_with('B')) unit.remove_suffix(1);
  constexpr std::string_view units = "KMGT";
  const std::size_t at = unit.size() == 1 ? units.find(unit[0]) : std::string_view::npos;
  if (at != std::string_view::npos) number *= std::pow(1000.0, static_cast<double>(at + 1));
  if (!(number >= 1 && number < 1e18) || (at == std::string_view::npos && !unit.empty()))
    throw Error(ErrorCode::usage, fmt::format("--memory is \"{}\": must be a size like 6G or 800M", text), "memory");
  return static_cast<Dim>(number);
}

// NAME=MODEL, or a MODEL, which goes by the last part of its folder.
std::vector<server::ServedModel> served_models(const Options& options) {
  std::vector<server::ServedModel> served;
  for (const std::string& text : options.models.empty() ? std::vector{options.model} : options.models) {
    const std::size_t equals = file_exists(text) ? std::string::npos : text.find('=');
    std::string source = equals == std::string::npos ? text : text.substr(equals + 1);
    const std::filesystem::path folder = model_folder(source);
    std::string name = equals != std::string::npos ? text.substr(0, equals)
                       : is_directory(source)
                           ? (folder.has_filename() ? folder : folder.parent_path()).filename().string()
                           : source;
    if (name.empty()) throw Error(ErrorCode::usage, fmt::format("--model {}: names nothing", text), "model");
    served.push_back({std::move(name), std::move(source)});
  }
  return served;
}

// A line for every request, of any thread.
std::function<void(const Json&)> request_log(const std::string& path) {
  if (path.empty()) return {};
  const int fd = path == "-" ? STDERR_FILENO : ::open(path.c_str(), O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0600);
  if (fd < 0) throw Error(ErrorCode::io, fmt::format("{}: {}", path, reason_of(errno)), path);
  return [fd](const Json& json) {
    const std::string line = to_json_line(json) + "\n";
    (void)!::write(fd, line.data(), line.size());  // one call, so that lines stay whole
  };
}

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
  if (std::ranges::find(how.keys, "") != how.keys.end())
    throw Error(ErrorCode::usage, "--api-key: is empty", "api-key");
  how.http.hosts = options.allow_hosts;
  if (how.keys.empty() && !server::is_loopback(options.host))
    throw Error(
        ErrorCode::usage,
        fmt::format("--host {}: others could reach it, and there is no --api-key (or TAPETUM_API_KEY)", options.host),
        "host");
  if (options.tls_cert.empty() != options.tls_key.empty())
    throw Error(ErrorCode::usage, "--tls-cert and --tls-key go together",
                options.tls_cert.empty() ? "tls-cert" : "tls-key");
  how.http.tls_certificate = options.tls_cert;
  how.http.tls_key = options.tls_key;
  raise_descriptor_limit();
  keep_room(room_beside_large);
  ExecContext context(static_cast<int>(options.threads));  // not the one that a signal cancels
  const ExecContext::Scope scope(context);
  how.log = request_log(options.request_log);
  const Dim budget =
      options.memory.empty() ? static_cast<Dim>(memory_limits().available() / 4 * 3) : bytes_of(options.memory);
  std::vector<server::ServedModel> models = served_models(options);
  server::Server server(how);
  Stopper stopper(server, context);
  const auto load = [&](const std::string& source, const std::function<void(Dim)>& need) {
    Options own = options;
    own.model = source;
    auto [model, sequences] = load_model_for(own, {}, std::numeric_limits<Dim>::max(), need);
    return server::LoadedModel{std::move(model),
                               {.sequences = sequences,
                                .context = options.context,
                                .rows_beside = 128,
                                .queued = static_cast<std::size_t>(options.queue)}};
  };
  const auto guards = std::make_shared<Guards>(options);
  auto pool = std::make_unique<server::ModelPool>(std::move(models), budget, load, server.thread());
  const std::string first = pool->first();
  server.run(guards, std::move(pool), context, [&] {
    stopper.serving();
    const std::string address = fmt::format(
        "http://{}:{}", options.host.find(':') == std::string::npos ? options.host : "[" + options.host + "]",
        server.port());
    if (options.json)
      write_json({{"ready", address}, {"model", first}});
    else
      write_out(fmt::format("tapetum serves {} on {}\n", first, address));
  });
  return 0;
}

}  // namespace tap::cli
