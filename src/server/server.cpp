#include "server/server.h"

#include <algorithm>
#include <chrono>
#include <ctime>
#include <optional>
#include <thread>
#include <vector>

#include <openssl/crypto.h>

#include "base/log.h"
#include "server/chat_reply.h"
#include "server/chat_request.h"
#include "server/page.h"
#include "server/responses_reply.h"
#include "server/responses_request.h"
#include "server/task_routes.h"
#include "server/work_queue.h"

namespace tap::server {

namespace {

constexpr std::string_view json_type = "application/json";
// The page asks nobody but this server, and runs nothing but its own files.
constexpr std::string_view page_policy =
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data: blob:; connect-src 'self'; "
    "media-src blob:; "
    "form-action 'none'; base-uri 'none'; frame-ancestors 'none'";

std::string utc_now() {
  const auto now = std::chrono::system_clock::now();
  const std::time_t seconds = std::chrono::system_clock::to_time_t(now);
  std::tm parts{};
  ::gmtime_r(&seconds, &parts);
  char text[32];
  const std::string whole(text, std::strftime(text, sizeof text, "%Y-%m-%dT%H:%M:%S", &parts));
  const auto ms = std::chrono::duration_cast<std::chrono::milliseconds>(now.time_since_epoch()).count() % 1000;
  return fmt::format("{}.{:03}Z", whole, ms);
}

void respond_error(HttpExchange& exchange, int status, std::string_view message) {
  exchange.respond(status, json_type, failure_body(status, message));
}

}  // namespace

class Server::Impl {
 public:
  explicit Impl(ServerOptions with)
      : options(std::move(with)),
        media(options.media),
        http(
            options.http, [this](auto exchange) { route(std::move(exchange)); }, failure_body),
        work(options.preparing_threads) {
    for (const std::string& key : options.keys) key_sums.push_back(bytes_key(key));
    network = std::thread([this] { http.run(); });
  }
  ~Impl() {
    if (const auto models = loaded()) models->end();
    http.close(std::chrono::seconds(2));  // for the last bytes of the last answers
    network.join();
  }

  void route(std::shared_ptr<HttpExchange> plain) {
    const auto exchange = std::make_shared<ObservedExchange>(
        plain, [this, method = plain->request().method, path = plain->request().path, client = plain->request().client](
                   const ObservedExchange::Done& done) { ended(method, path, client, done); });
    exchange->note("request", exchange->id());
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
    } else if (request.path == "/ready") {
      if (only(get, "GET")) ready(*exchange);
    } else if (!owner_of(request)) {
      metrics.refused("key");
      exchange->respond(401, json_type, failure_body(401, "this server wants an API key: Authorization: Bearer KEY"),
                        {{"WWW-Authenticate", "Bearer"}});
    } else if (request.path == "/metrics") {
      if (only(get, "GET")) exchange->respond(200, "text/plain; version=0.0.4; charset=utf-8", metrics_text());
    } else if (request.path == "/v1/models" || request.path.starts_with("/v1/models/")) {
      if (only(get, "GET")) models(*exchange);
    } else if (const auto handler = handler_of(request.path)) {
      if (only(request.method == "POST", "POST")) later(exchange, handler);
    } else {
      respond_error(*exchange, 404, fmt::format("no such route: {}", log::one_line(request.path.substr(0, 100))));
    }
  }

  // Whose a request is: what is cached for one key is used for no other. Nothing: for nobody.
  std::optional<std::string> owner_of(const HttpRequest& request) const {
    if (options.keys.empty()) return "";
    std::string_view given = request.header("authorization");
    constexpr std::string_view scheme = "bearer ";
    const bool bearer =
        given.size() > scheme.size() && std::ranges::equal(given.substr(0, scheme.size()), scheme,
                                                           [](char a, char b) { return (a | 0x20) == (b | 0x20); });
    if (!bearer) return std::nullopt;
    const PictureKey sum = bytes_key(given.substr(scheme.size()));
    std::optional<std::string> owner;
    for (const PictureKey& key : key_sums)  // all of them, and no byte tells by its time how far it agrees
      if (CRYPTO_memcmp(key.data(), sum.data(), sum.size()) == 0) owner = std::string(sum.begin(), sum.end());
    return owner;
  }

  void ended(const std::string& method, const std::string& path, const std::string& client,
             const ObservedExchange::Done& done) {
    const bool known =
        handler_of(path) || path == "/health" || path == "/ready" || path == "/metrics" || path == "/v1/models";
    metrics.request(known ? path : "other", done.status, done.seconds);
    if (done.status == 429) metrics.refused("queue");
    if (done.status == 413) metrics.refused("limit");
    if (log::level() >= log::Level::verbose)
      log::info("{} {} {} {} {:.1f} ms", done.notes.value("request", ""), method, path.substr(0, 100), done.status,
                done.seconds * 1e3);
    if (!options.log) return;
    Json line = {{"time", utc_now()},     {"method", method},         {"path", path.substr(0, 200)},
                 {"status", done.status}, {"ms", done.seconds * 1e3}, {"client", client}};
    line.update(done.notes);
    options.log(line);
  }

  using Handler = void (Impl::*)(const Asked&, const Json& body);
  static Handler handler_of(std::string_view path) {
    if (path == "/v1/chat/completions") return &Impl::chat;
    if (path == "/v1/responses") return &Impl::respond;
    if (path == "/v1/detect") return &Impl::detect;
    if (path == "/v1/moderations") return &Impl::moderate;
    if (path == "/v1/embeddings") return &Impl::embed;
    if (path == "/v1/tokenize") return &Impl::tokenize;
    return nullptr;
  }
  void detect(const Asked& asked, const Json& body) { server::detect(asked, body); }
  void embed(const Asked& asked, const Json& body) { server::embed(asked, body); }
  void tokenize(const Asked& asked, const Json& body) { server::tokenize(asked, body); }
  void moderate(const Asked& asked, const Json& body) { server::moderate(asked, body); }

  void health(HttpExchange& exchange) {
    if (is_draining()) return respond_error(exchange, 503, "the server is shutting down");
    if (loaded()) return exchange.respond(200, json_type, R"({"status":"ok"})");
    respond_error(exchange, 503, "the model is being loaded");
  }

  // Whether requests are taken, and which models would have to be loaded first.
  void ready(HttpExchange& exchange) {
    const auto models = loaded();
    Json list = Json::array();
    if (models)
      for (const ModelStatus& one : models->status())
        list.push_back({{"id", one.name}, {"state", name(one.state)}, {"bytes", one.bytes}});
    const bool draining_now = is_draining();
    const Json json = {{"status", draining_now ? "draining"
                                  : models     ? "ready"
                                               : "loading"},
                       {"models", std::move(list)}};
    exchange.respond(models && !draining_now ? 200 : 503, json_type, to_json_line(json));
  }

  std::string metrics_text() {
    metrics.connections(http.connections());
    if (const auto models = loaded())
      for (const ModelStatus& one : models->status()) {
        const EngineLoad load = one.engine ? one.engine->load() : EngineLoad();
        metrics.load({one.name, one.state == ModelState::ready, load.queued, load.running, one.bytes,
                      one.engine ? one.engine->pictures_encoded() : 0});
      }
    return metrics.text();
  }

  Json model_json(const ModelStatus& one) const {
    Json capabilities = Json::array();
    if (one.engine) {
      const Model& model = one.engine->model();
      capabilities.push_back("chat");
      if (model.grounding()) capabilities.push_back("detect");
      if (model.safety_head() || !guards->empty()) capabilities.push_back("guard");
    }
    return {{"id", one.name},
            {"object", "model"},
            {"created", started},
            {"owned_by", "tapetum"},
            {"state", name(one.state)},
            {"context", one.engine ? Json(one.engine->context()) : Json()},
            {"capabilities", std::move(capabilities)}};
  }

  void models(HttpExchange& exchange) {
    const auto found = loaded();
    if (!found) return respond_error(exchange, 503, "the model is being loaded");
    const std::vector<ModelStatus> all = found->status();
    const std::string_view path = exchange.request().path;
    if (path == "/v1/models") {
      Json data = Json::array();
      for (const ModelStatus& one : all) data.push_back(model_json(one));
      return exchange.respond(200, json_type, to_json_line({{"object", "list"}, {"data", std::move(data)}}));
    }
    const std::string_view wanted = path.substr(std::string_view("/v1/models/").size());
    const auto at = std::ranges::find_if(all, [&](const ModelStatus& one) { return one.name == wanted; });
    if (at == all.end())
      return respond_error(exchange, 404, fmt::format("no such model: {}", log::one_line(wanted.substr(0, 100))));
    exchange.respond(200, json_type, to_json_line(model_json(*at)));
  }

  // Preparing takes its time (pictures are fetched and decoded): not on the network's thread.
  void later(const std::shared_ptr<ObservedExchange>& exchange, Handler handler) {
    {
      const std::lock_guard lock(mutex);
      ++preparing;
    }
    const std::shared_ptr<void> place(nullptr, [this](void*) { prepared(); });
    work_on(exchange, [this, exchange, handler, place] { prepare(exchange, handler, place); });
  }
  // Requests that were there before the server was told to stop have their places until they are prepared.
  void prepared() {
    const std::lock_guard lock(mutex);
    if (--preparing == 0 && draining) thread.end();
  }
  void work_on(const std::shared_ptr<ObservedExchange>& exchange, std::function<void()> step) {
    const bool taken = work.add([exchange, step = std::move(step)] {
      if (!exchange->gone()) answer_errors(*exchange, step);
    });
    if (taken) return;
    metrics.refused("queue");
    respond_error(*exchange, 503, "too many requests are being prepared: try again later");
  }

  void prepare(const std::shared_ptr<ObservedExchange>& exchange, Handler handler, const std::shared_ptr<void>& place) {
    const auto found = loaded();
    if (!found) return respond_error(*exchange, 503, "the model is being loaded");
    const auto body = std::make_shared<const Json>(
        parse_json(exchange->request().body, "the body", {.bytes = options.http.limits.body_bytes}).value());
    std::string wanted = requested_model(*body);
    if (handler == &Impl::moderate && guards->named(wanted)) wanted.clear();
    if (wanted.empty()) wanted = found->first();
    exchange->note("model", wanted);
    found->with(wanted, [this, exchange, handler, body, wanted, place](std::shared_ptr<Engine> engine,
                                                                       std::optional<Error> failed) {
      if (failed) {
        if (failed->code() != ErrorCode::cancelled)
          failed = Error(ErrorCode::out_of_memory, fmt::format("{}: {}", wanted, failed->message()), failed->item());
        return respond_error(*exchange, *failed);
      }
      // Whoever has loaded it goes on with the next.
      work_on(exchange, [this, exchange, handler, body, engine, wanted, place] {
        handle(exchange, handler, *body, engine, wanted, place);
      });
    });
  }

  void handle(const std::shared_ptr<ObservedExchange>& exchange, Handler handler, const Json& body,
              const std::shared_ptr<Engine>& engine, const std::string& model, const std::shared_ptr<void>& place) {
    const HttpRequest& request = exchange->request();
    GenerateOptions defaults = options.generate;
    defaults.sampling = engine->model().sampling_defaults();
    const std::string owner = *owner_of(request);
    Asker asker{owner.empty() ? request.client : owner, std::to_string(request.connection)};
    if (const auto user = body.find("user"); user != body.end() && user->is_string())
      asker.part = "user " + user->get<std::string>();
    (this->*handler)({exchange, engine, model, media, std::move(defaults), owner, std::move(asker), *post, place},
                     body);
  }

  void chat(const Asked& asked, const Json& body) {
    ChatRequest request = parse_chat_request(body, asked.generate, asked.engine->model().tokenizer().size());
    request.model = asked.model;
    request.generate.constraint = constraint_of(request, asked.engine->model(), forms);
    answer(asked, request, std::make_shared<ChatReply>(asked.exchange, asked.engine->model(), request));
  }

  void respond(const Asked& asked, const Json& body) {
    const Model& model = asked.engine->model();
    ResponsesRequest request =
        parse_responses_request(body, asked.generate, model.tokenizer().size(), responses, asked.owner);
    ChatRequest& chat = request.chat;
    chat.model = asked.model;
    chat.generate.constraint = constraint_of(chat, model, forms);
    answer(asked, chat,
           std::make_shared<ResponsesReply>(asked.exchange, model, chat, std::move(request.echo),
                                            std::move(request.messages), responses, asked.owner));
  }

  bool is_draining() const {
    const std::lock_guard lock(mutex);
    return draining;
  }
  std::shared_ptr<ModelPool> loaded() const {
    const std::lock_guard lock(mutex);
    return pool;
  }

  const ServerOptions options;
  const std::int64_t started = std::time(nullptr);
  std::vector<PictureKey> key_sums;
  mutable std::mutex mutex;
  EngineThread thread;
  Metrics metrics;
  std::shared_ptr<Guards> guards;   // set before pool
  std::optional<GuardPost> post;    // likewise
  std::shared_ptr<ModelPool> pool;  // guarded by mutex
  bool draining = false;
  int preparing = 0;  // guarded by mutex
  MediaReader media;
  ConstraintCache forms;
  ResponseStore responses;
  HttpServer http;
  WorkQueue work;
  std::thread network;
};

Server::Server(ServerOptions options) : impl_(std::make_unique<Impl>(std::move(options))) {}
Server::~Server() = default;
std::uint16_t Server::port() const { return impl_->http.port(); }

void Server::run(std::shared_ptr<Guards> guards, std::unique_ptr<ModelPool> pool, ExecContext& context,
                 const std::function<void()>& ready) {
  impl_->guards = std::move(guards);
  impl_->post.emplace(*impl_->guards, impl_->metrics);
  {
    const ExecContext::Scope scope(context);
    pool->begin();
  }
  {
    const std::lock_guard lock(impl_->mutex);
    impl_->pool = std::move(pool);
  }
  ready();
  impl_->thread.run(context);
}

EngineThread& Server::thread() { return impl_->thread; }

void Server::drain() {
  impl_->http.drain();
  const std::lock_guard lock(impl_->mutex);
  impl_->draining = true;
  if (impl_->preparing == 0) impl_->thread.end();
}

void Server::stop() {
  drain();
  impl_->thread.cancel();
}

}  // namespace tap::server
