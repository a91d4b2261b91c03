// Single pieces of work, timed when asked for: steps MODEL DTYPE [PICTURE_PX [CONTEXT]]. It stays loaded, so that a
// script can take turns between programs (bench/peers). Each line of stdin is one command, each answer one line of
// JSON:
//
//   encode [PICTURES] | prefill TOKENS | decode CONTEXT [STEPS] | batch USERS CONTEXT [shared] | first | memory |
//   limits
#include <iostream>
#include <sstream>
#include <string>

#include <fmt/format.h>

#include "base/memory.h"
#include "kernels/machine_limits.h"
#include "runtime/workload.h"

using namespace tap;

namespace {

double seconds_of(Workload& work, const std::string& command, std::istream& words) {
  const auto number = [&](Dim fallback) {
    Dim value = fallback;
    words >> value;
    return words ? value : fallback;
  };
  if (command == "encode") return work.encode_s(number(1));
  if (command == "prefill") return work.prefill_s(number(512));
  if (command == "first") return work.first_token_s();
  if (command == "decode") {
    const Dim context = number(200);
    return work.decode_s(context, number(16));
  }
  if (command == "batch") {
    const Dim users = number(16);
    const Dim context = number(200);
    std::string shared;
    words >> shared;
    if (!shared.empty() && shared != "shared") fail(ErrorCode::usage, "batch USERS CONTEXT [shared], not {}", shared);
    return work.batch_s(users, context, !shared.empty());
  }
  fail(ErrorCode::usage, "no such command: {}", command);
}

void answer(Workload& work, const std::string& line) {
  std::istringstream words(line);
  std::string command;
  words >> command;
  if (command == "memory") {
    std::cout << fmt::format("{{\"peak_mb\":{:.0f},\"cache_mb\":{:.1f}}}\n",
                             static_cast<double>(peak_resident_bytes()) / 1e6,
                             static_cast<double>(work.cache_bytes()) / 1e6);
  } else if (command == "limits") {
    std::cout << to_json(measure_limits(ExecContext::current().threads())) << "\n";
  } else {
    std::cout << fmt::format("{{\"s\":{:.6f}}}\n", seconds_of(work, command, words));
  }
}

}  // namespace

int main(int argc, char** argv) try {
  if (argc < 3) return std::cerr << "steps MODEL DTYPE [PICTURE_PX [CONTEXT]]\n", 2;
  ExecContext context;
  const ExecContext::Scope scope(context);
  LoadOptions load;
  load.dtype = parse_dtype(argv[2]).value();
  if (argc > 4) load.config_change = {{"text_config.max_position_embeddings", std::stoll(argv[4])}};
  const auto model = load_model(argv[1], load);
  Workload work(*model, argc > 3 ? std::stoll(argv[3]) : 1024);
  std::cout << fmt::format("{{\"load_s\":{:.4f}}}", model->load_ms() / 1e3) << std::endl;
  for (std::string line; std::getline(std::cin, line);) {
    answer(work, line);
    std::cout.flush();
  }
  return 0;
} catch (const std::exception& e) {
  std::cerr << e.what() << "\n";
  return 1;
}
