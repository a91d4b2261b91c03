#include "server/server.h"

#include <algorithm>
#include <ctime>
#include <optional>
#include <thread>
#include <vector>

#include <openssl/crypto.h>

#include "base/log.h"
#include "server/chat_reply.h"
#include "server/chat_request.h"
#include "server/page.h"
#include "server/task_routes.h"
#include "server/work_queue.h"

namespace tap::server {

namespace {

constexpr std::string_view json_type = "application/json";
// The page asks nobody but this server, and runs nothing but its own files.
constexpr std::string_view page_policy =
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data: blob:; connect-src 'self'; media-src blob:; "
    "form-action 'none'; base-uri 'none'; frame-ancestors 'none'";

void respond_error(HttpExchange& exchange, int status, std::string_view message) {
  exchange.respond(status, json_type, failure_body(status, message));
}

void respond_error(HttpExchange& exchange, const Error& error) {
  Failure failure = failure_of(error);
  exchange.respond(failure.status, json_type, std::move(failure.body));
}

}  // namespace

class Server::Impl {
 public:
  explicit Impl(ServerOptions with)
      : options(std::move(with)),
        http(options.http, [this](auto exchange) { route(std::move(exchange)); }, failure_body),
        work(options.preparing_threads) {
    for (const std::string& key : options.keys) key_sums.push_back(bytes_key(key));
    network = std::thread([this] { http.run(); });
  }
  ~Impl() {
    http.close(std::chrono::seconds(2));  // for the last bytes of the last answers
    network.join();
  }

  void route(std::shared_ptr<HttpExchange> exchange) {
    const HttpRequest& request = exchange->request();
    const bool get = request.method == "GET" || request.method == "HEAD";
    const auto only = [&](bool right, std::string_view method) {
      if (!right)
        exchange->respond(405, json_type, failure_body(405, fmt::format("{} takes {} only", request.path, method)),
                          {{"Allow", std::string(method)}});
      return right;
    };
    const auto file = std::ranges::find(page_files(), std::string_view(request.path), &PageFile::path);
    if (file != page_files().end()) {
      if (only(get, "GET"))
        exchange->respond(200, file->type, std::string(file->text),
                          {{"Content-Security-Policy", std::string(page_policy)}, {"Cache-Control", "no-cache"}});
    } else if (request.path == "/health") {
      if (only(get, "GET")) health(*exchange);
    } else if (!owner_of(request)) {
      exchange->respond(401, json_type, failure_body(401, "this server wants an API key: Authorization: Bearer KEY"),
                        {{"WWW-Authenticate", "Bearer"}});
    } else if (request.path == "/v1/models" || request.path.starts_with("/v1/models/")) {
      if (only(get, "GET")) models(*exchange);
    } else if (const auto handler = handler_of(request.path)) {
      if (only(request.method == "POST", "POST")) later(std::move(exchange), handler);
    } else {
      respond_error(*exchange, 404, fmt::format("no such route: {}", log::one_line(request.path.substr(0, 100))));
    }
  }

  // Whose a request is: what is cached for one key is used for no other. Nothing: for nobody.
  std::optional<std::string> owner_of(const HttpRequest& request) const {
    if (options.keys.empty()) return "";
    std::string_view given = request.header("authorization");
    constexpr std::string_view scheme = "bearer ";
    const bool bearer = given.size() > scheme.size() &&
                        std::ranges::equal(given.substr(0, scheme.size()), scheme,
                                           [](char a, char b) { return (a | 0x20) == (b | 0x20); });
    if (!bearer) return std::nullopt;
    const PictureKey sum = bytes_key(given.substr(scheme.size()));
    std::optional<std::string> owner;
    for (const PictureKey& key : key_sums)  // all of them, and no byte tells by its time how far it agrees
      if (CRYPTO_memcmp(key.data(), sum.data(), sum.size()) == 0) owner = std::string(sum.begin(), sum.end());
    return owner;
  }

  using Handler = void (Impl::*)(const Asked&);
  static Handler handler_of(std::string_view path) {
    if (path == "/v1/chat/completions") return &Impl::chat;
    if (path == "/v1/detect") return &Impl::detect;
    if (path == "/v1/moderations") return &Impl::moderate;
    if (path == "/v1/embeddings") return &Impl::embed;
    if (path == "/v1/tokenize") return &Impl::tokenize;
    return nullptr;
  }
  void detect(const Asked& asked) { server::detect(asked); }
  void embed(const Asked& asked) { server::embed(asked); }
  void tokenize(const Asked& asked) { server::tokenize(asked); }
  void moderate(const Asked& asked) { server::moderate(asked, guard); }

  void health(HttpExchange& exchange) {
    if (is_draining()) return respond_error(exchange, 503, "the server is shutting down");
    if (loaded()) return exchange.respond(200, json_type, R"({"status":"ok"})");
    respond_error(exchange, 503, "the model is being loaded");
  }

  void models(HttpExchange& exchange) {
    const auto found = loaded();
    if (!found) return respond_error(exchange, 503, "the model is being loaded");
    Json capabilities = Json::array({"chat"});
    if (found->model().grounding()) capabilities.push_back("detect");
    if (guard) capabilities.push_back("guard");
    const Json model = {{"id", found->model().name()},
                        {"object", "model"},
                        {"created", started},
                        {"owned_by", "tapetum"},
                        {"context", found->context()},
                        {"capabilities", std::move(capabilities)}};
    const std::string_view path = exchange.request().path;
    if (path == "/v1/models")
      return exchange.respond(200, json_type, to_json_line({{"object", "list"}, {"data", Json::array({model})}}));
    const std::string_view wanted = path.substr(std::string_view("/v1/models/").size());
    if (wanted != found->model().name())
      return respond_error(exchange, 404, fmt::format("no such model: {}", log::one_line(wanted.substr(0, 100))));
    exchange.respond(200, json_type, to_json_line(model));
  }

  // Preparing takes its time (pictures are fetched and decoded): not on the network's thread.
  void later(std::shared_ptr<HttpExchange> exchange, Handler handler) {
    const bool taken = work.add([this, exchange, handler] {
      if (exchange->gone()) return;
      try {
        prepare(exchange, handler);
      } catch (const Error& error) {
        respond_error(*exchange, error);
      } catch (const std::bad_alloc&) {
        respond_error(*exchange, Error(ErrorCode::out_of_memory, "out of memory"));
      }
    });
    if (!taken) respond_error(*exchange, 503, "too many requests are being prepared: try again later");
  }

  void prepare(const std::shared_ptr<HttpExchange>& exchange, Handler handler) {
    const auto found = loaded();
    if (!found) return respond_error(*exchange, 503, "the model is being loaded");
    const Model& model = found->model();
    const Json body = parse_json(exchange->request().body, "the body", {.bytes = options.http.limits.body_bytes}).value();
    const std::string wanted = requested_model(body);
    if (!wanted.empty() && wanted != model.name())
      throw Error(ErrorCode::not_found,
                  fmt::format("no such model: {}; there is {}", log::one_line(wanted.substr(0, 100)), model.name()), "model");
    GenerateOptions defaults = options.generate;
    defaults.sampling = model.sampling_defaults();
    (this->*handler)({exchange, found, body, options.pictures, std::move(defaults), *owner_of(exchange->request())});
  }

  void chat(const Asked& asked) {
    const auto& [exchange, computing, body, limits, defaults, owner] = asked;
    const Model& model = computing->model();
    ChatRequest request = parse_chat_request(body, defaults, model.tokenizer().size());
    request.generate.constraint = constraint_of(request, model, forms);
    const PreparedPrompt prompt = model.prepare(conversation_of(request, limits, model));
    require_fits(prompt, request.generate, computing->context());
    const std::vector<PictureKey> pictures = media_keys(model, prompt);
    const auto reply = std::make_shared<ChatReply>(exchange, model, request);
    std::vector<std::function<void()>> cancels;
    for (int i = 0; i < request.choices; ++i) {
      Job job{{prompt, request.generate, owner, pictures}};
      job.request.generate.sampling.seed += static_cast<std::uint64_t>(i);
      const auto number = static_cast<std::size_t>(i);
      job.on_token = [reply, number](const BatchGenerator::Event& event) { reply->token(number, event); };
      job.on_end = [reply, number](const BatchGenerator::Finished& finished) { reply->end(number, finished); };
      try {
        cancels.push_back(computing->submit(std::move(job)));
      } catch (...) {
        for (const auto& cancel : cancels) cancel();
        throw;
      }
    }
    exchange->on_gone([cancels = std::move(cancels)] {
      for (const auto& cancel : cancels) cancel();
    });
  }

  bool is_draining() const {
    const std::lock_guard lock(mutex);
    return draining;
  }
  std::shared_ptr<Engine> loaded() const {
    const std::lock_guard lock(mutex);
    return engine;
  }

  const ServerOptions options;
  const std::int64_t started = std::time(nullptr);
  std::vector<PictureKey> key_sums;
  mutable std::mutex mutex;
  std::shared_ptr<Engine> engine;  // guarded by mutex
  std::shared_ptr<Guard> guard;    // set before engine
  ConstraintCache forms;
  bool draining = false, stopping = false;
  HttpServer http;
  WorkQueue work;
  std::thread network;
};

Server::Server(ServerOptions options) : impl_(std::make_unique<Impl>(std::move(options))) {}
Server::~Server() = default;
std::uint16_t Server::port() const { return impl_->http.port(); }

void Server::run(std::shared_ptr<const Model> model, const EngineOptions& options, ExecContext& context,
                 const std::function<void()>& ready) {
  std::shared_ptr<Engine> engine;
  {
    const ExecContext::Scope scope(context);
    if (model->safety_head()) impl_->guard = std::make_shared<Guard>(model, GuardOptions{});
    engine = std::make_shared<Engine>(std::move(model), options);
  }
  {
    const std::lock_guard lock(impl_->mutex);
    impl_->engine = engine;
    if (impl_->draining) engine->end();
    if (impl_->stopping) engine->cancel();
  }
  ready();
  engine->run(context);
}

void Server::drain() {
  impl_->http.drain();
  const std::lock_guard lock(impl_->mutex);
  impl_->draining = true;
  if (impl_->engine) impl_->engine->end();
}

void Server::stop() {
  drain();
  const std::lock_guard lock(impl_->mutex);
  impl_->stopping = true;
  if (impl_->engine) impl_->engine->cancel();
}

}  // namespace tap::server
