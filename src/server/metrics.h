// What a server counts, for Prometheus (https://prometheus.io/docs/instrumenting/exposition_formats). Any thread.
#pragma once

#include <cstddef>
#include <memory>
#include <string>
#include <string_view>

#include "runtime/timings.h"

namespace tap::server {

// Of a model, when it is asked.
struct ModelLoad {
  std::string model;
  bool ready = false;
  std::size_t queued = 0, running = 0;
  Dim bytes = 0, pictures_encoded = 0;
};

class Metrics {
 public:
  Metrics();
  ~Metrics();
  Metrics(const Metrics&) = delete;
  Metrics& operator=(const Metrics&) = delete;

  void request(std::string_view route, int status, double seconds);
  void refused(std::string_view reason);  // "queue", "limit", "key", "guard", "host"
  void answer(const std::string& model, const Timings& timings, std::string_view finish);
  void gap(double seconds);  // between two tokens of one answer
  void load(const ModelLoad& load);
  void connections(std::size_t count);
  std::string text() const;  // text/plain; version=0.0.4

 private:
  class Impl;
  template <class Fn>
  void count(Fn&& counting) const;
  std::unique_ptr<Impl> impl_;
};

}  // namespace tap::server
