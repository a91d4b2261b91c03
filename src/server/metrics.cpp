#include "server/metrics.h"

#include <memory>
#include <new>

#include <prometheus/counter.h>
#include <prometheus/gauge.h>
#include <prometheus/histogram.h>
#include <prometheus/registry.h>
#include <prometheus/text_serializer.h>

namespace tap::server {

namespace {

using prometheus::Histogram;
const Histogram::BucketBoundaries request_buckets{0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 120};
const Histogram::BucketBoundaries stage_buckets{0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1,
                                                0.25,  0.5,    1,     2.5,  5,     10,   30};
const Histogram::BucketBoundaries gap_buckets{0.001, 0.0025, 0.005, 0.01, 0.02, 0.03, 0.05,
                                              0.075, 0.1,    0.15,  0.25, 0.5,  1,    2.5};

prometheus::Family<prometheus::Counter>& counters(prometheus::Registry& registry, const char* name, const char* help) {
  return prometheus::BuildCounter().Name(name).Help(help).Register(registry);
}
prometheus::Family<prometheus::Gauge>& gauges(prometheus::Registry& registry, const char* name, const char* help) {
  return prometheus::BuildGauge().Name(name).Help(help).Register(registry);
}
prometheus::Family<Histogram>& histograms(prometheus::Registry& registry, const char* name, const char* help) {
  return prometheus::BuildHistogram().Name(name).Help(help).Register(registry);
}

}  // namespace

class Metrics::Impl {
 public:
  prometheus::Registry registry;
  prometheus::Family<prometheus::Counter>& requests =
      counters(registry, "tapetum_requests_total", "Requests answered, by route and status; 499: the client left");
  prometheus::Family<Histogram>& request_seconds =
      histograms(registry, "tapetum_request_seconds", "From a request to the end of its answer");
  prometheus::Family<prometheus::Counter>& refusals =
      counters(registry, "tapetum_refusals_total", "Requests refused, by reason");
  prometheus::Family<prometheus::Counter>& answers =
      counters(registry, "tapetum_answers_total", "Answers generated, by model and finish reason");
  prometheus::Family<prometheus::Counter>& tokens =
      counters(registry, "tapetum_tokens_total",
               "Tokens, by model and kind: prompt and of them image and cached, output and of them looked_up");
  prometheus::Family<Histogram>& stages =
      histograms(registry, "tapetum_stage_seconds", "Time of an answer, by model and stage");
  prometheus::Family<Histogram>& first =
      histograms(registry, "tapetum_first_token_seconds", "From a place in the queue to the first token");
  prometheus::Family<Histogram>& gaps =
      histograms(registry, "tapetum_token_gap_seconds", "Between two tokens of one answer");
  prometheus::Family<prometheus::Gauge>& ready = gauges(registry, "tapetum_model_ready", "Whether the model is loaded");
  prometheus::Family<prometheus::Gauge>& bytes =
      gauges(registry, "tapetum_model_bytes", "Memory that the model and its caches may take");
  prometheus::Family<prometheus::Gauge>& queued =
      gauges(registry, "tapetum_queue_jobs", "Answers that wait for a place in the batch");
  prometheus::Family<prometheus::Gauge>& running = gauges(registry, "tapetum_batch_answers", "Answers being generated");
  prometheus::Family<prometheus::Gauge>& pictures =
      gauges(registry, "tapetum_pictures_encoded", "Pictures encoded since the model was loaded; equal ones once");
  prometheus::Gauge& open = gauges(registry, "tapetum_connections", "Open connections").Add({});
  Histogram& gap = gaps.Add({}, gap_buckets);
};

Metrics::Metrics() : impl_(std::make_unique<Impl>()) {}
Metrics::~Metrics() = default;

// Answers go on where there is no memory to count them.
template <class Fn>
void Metrics::count(Fn&& counting) const {
  try {
    counting(*impl_);
  } catch (const std::bad_alloc&) {
  }
}

void Metrics::request(std::string_view route, int status, double seconds) {
  count([&](Impl& to) {
    to.requests.Add({{"route", std::string(route)}, {"status", std::to_string(status)}}).Increment();
    to.request_seconds.Add({{"route", std::string(route)}}, request_buckets).Observe(seconds);
  });
}

void Metrics::refused(std::string_view reason) {
  count([&](Impl& to) { to.refusals.Add({{"reason", std::string(reason)}}).Increment(); });
}

void Metrics::answer(const std::string& model, const Timings& t, std::string_view finish) {
  count([&](Impl& to) {
    to.answers.Add({{"model", model}, {"finish", std::string(finish)}}).Increment();
    const auto tokens = [&](const char* kind, Dim count) {
      to.tokens.Add({{"model", model}, {"kind", kind}}).Increment(static_cast<double>(count));
    };
    tokens("prompt", t.prompt_tokens);
    tokens("image", t.image_tokens);
    tokens("cached", t.cached_tokens);
    tokens("output", t.output_tokens);
    tokens("looked_up", t.accepted_tokens);
    const auto stage = [&](const char* name, const Stage& spent) {
      if (spent.ms > 0) to.stages.Add({{"model", model}, {"stage", name}}, stage_buckets).Observe(spent.ms / 1e3);
    };
    stage("preprocess", t.preprocess);
    stage("encode", t.encode);
    stage("prefill", t.prefill);
    stage("decode", t.decode);
    to.first.Add({{"model", model}}, stage_buckets).Observe(t.first_token_ms / 1e3);
  });
}

void Metrics::gap(double seconds) { impl_->gap.Observe(seconds); }
void Metrics::connections(std::size_t count) { impl_->open.Set(static_cast<double>(count)); }

void Metrics::load(const ModelLoad& load) {
  count([&](Impl& to) {
    const prometheus::Labels labels{{"model", load.model}};
    to.ready.Add(labels).Set(load.ready ? 1 : 0);
    to.bytes.Add(labels).Set(static_cast<double>(load.bytes));
    to.queued.Add(labels).Set(static_cast<double>(load.queued));
    to.running.Add(labels).Set(static_cast<double>(load.running));
    to.pictures.Add(labels).Set(static_cast<double>(load.pictures_encoded));
  });
}

std::string Metrics::text() const { return prometheus::TextSerializer().Serialize(impl_->registry.Collect()); }

}  // namespace tap::server
