// tapetum doctor: what this machine offers, what is missing, and how to fix it.
#include <algorithm>
#include <array>
#include <cmath>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <set>

#include <fmt/format.h>
#include <sched.h>
#include <unistd.h>

#include "base/dynamic_library.h"
#include "base/file.h"
#include "base/memory.h"
#include "cli/commands.h"
#include "cli/output.h"
#include "io/embedded.h"
#include "io/hub.h"
#include "kernels/isa.h"
#include "media/text_mask.h"
#include "runtime/benchmark.h"
#include "runtime/memory_plan.h"

extern char** environ;

namespace tap::cli {

namespace {

namespace fs = std::filesystem;

enum class Status : std::uint8_t { ok, warn, missing, broken };  // broken: nothing can be answered

std::string_view name(Status status) {
  switch (status) {
    case Status::ok: return "ok";
    case Status::warn: return "warn";
    case Status::missing: return "missing";
    case Status::broken: return "broken";
  }
  return "?";
}

struct Finding {
  std::string area, what;
  Status status;
  std::string value;  // what was found
  std::string fix;    // empty when there is nothing to do
};

class Report {
 public:
  void add(std::string what, Status status, std::string value, std::string fix = {}) {
    findings_.push_back({area_, std::move(what), status, std::move(value), std::move(fix)});
  }
  void begin(std::string area) { area_ = std::move(area); }
  const std::vector<Finding>& findings() const { return findings_; }

 private:
  std::string area_;
  std::vector<Finding> findings_;
};

std::string first_line(const std::string& path) {
  std::ifstream file(path);
  std::string line;
  std::getline(file, line);
  return line;
}

// Environment variables whose names begin with one of `prefixes`, sorted: "NAME=value".
std::vector<std::string> variables(std::initializer_list<std::string_view> prefixes) {
  std::vector<std::string> found;
  for (char** at = environ; at && *at; ++at)
    for (const std::string_view prefix : prefixes)
      if (std::string_view(*at).starts_with(prefix)) {
        found.emplace_back(*at);
        break;
      }
  std::sort(found.begin(), found.end());
  return found;
}

// A value fit to be pasted into a report: no token, and no password of a URL.
std::string without_secrets(const std::string& variable) {
  const auto equals = variable.find('=');
  const std::string key = variable.substr(0, equals), value = variable.substr(equals + 1);
  if (key.find("TOKEN") != std::string::npos || key.find("KEY") != std::string::npos) return key + " is set";
  const auto scheme = value.find("://"), at = value.rfind('@');
  if (at == std::string::npos) return variable;
  const auto begin = scheme == std::string::npos || scheme > at ? 0 : scheme + 3;
  return fmt::format("{}={}…{}", key, value.substr(0, begin), value.substr(at));
}

// Files of loaded libraries, by their resolved names: these carry the versions.
std::vector<std::string> loaded_libraries() {
  std::set<std::string> paths;
  std::ifstream maps("/proc/self/maps");
  for (std::string line; std::getline(maps, line);)
    if (const auto slash = line.find('/'); slash != std::string::npos && line.find(".so", slash) != std::string::npos)
      paths.insert(line.substr(slash));
  return {paths.begin(), paths.end()};
}

std::string file_name(const std::string& path) { return path.substr(path.rfind('/') + 1); }

void machine(Report& report) {
  report.begin("machine");
  report.add("cpu", Status::ok, cpu_name());
  std::string present;
  for (const Isa isa : present_isas()) present += fmt::format("{}{}", present.empty() ? "" : " ", name(isa));
  report.add("instructions", active_isa() >= Isa::avx2 ? Status::ok : Status::warn,
             fmt::format("{} is used; this CPU has {}", name(active_isa()), present),
             active_isa() >= Isa::avx2            ? ""
             : present_isas().back() >= Isa::avx2 ? "unset TAPETUM_ISA"
                                                  : "a CPU with AVX2 would be several times faster");
  cpu_set_t set;
  const int affinity = ::sched_getaffinity(0, sizeof set, &set) == 0 ? CPU_COUNT(&set) : 1;
  const int threads = ExecContext::current().threads(), available = available_threads();
  report.add(
      "threads", threads > available ? Status::warn : Status::ok,
      fmt::format("{} are used; {} CPUs by affinity, {} by the cgroup's quota as well", threads, affinity, available),
      threads > available ? fmt::format("--threads {}: more threads than CPUs wait for each other", available) : "");

  const MemoryLimits limits = memory_limits();
  constexpr double enough = 1e9;
  const auto left = static_cast<double>(limits.available());
  std::string memory = fmt::format("{} available", human_bytes(left));
  if (limits.cgroup_limit)
    memory += fmt::format("; the cgroup's limit is {}", human_bytes(static_cast<double>(*limits.cgroup_limit)));
  if (limits.address_space)
    memory += fmt::format("; the address space has {} left", human_bytes(static_cast<double>(*limits.address_space)));
  report.add("memory", left < enough ? Status::warn : Status::ok, memory,
             left < enough ? fmt::format("{} leaves little: use --dtype q4 or a small model", limits.binding()) : "");

  const std::string huge = first_line("/sys/kernel/mm/transparent_hugepage/enabled");
  const auto open = huge.find('['), close = huge.find(']');
  const std::string state =
      open == std::string::npos || close < open ? "unknown" : huge.substr(open + 1, close - open - 1);
  const bool huge_off = state == "never" || state == "unknown";
  report.add("huge pages", huge_off ? Status::warn : Status::ok,
             fmt::format("transparent huge pages: {}{}", state,
                         huge_off ? " (weights are read through small pages, up to a third slower)"
                                  : " (weights and cache lie in huge pages)"),
             huge_off ? "as root: echo madvise > /sys/kernel/mm/transparent_hugepage/enabled" : "");
}

void openmp(Report& report) {
  report.begin("openmp");
  const char* const policy = std::getenv("OMP_WAIT_POLICY");
  const char* const spin = std::getenv("GOMP_SPINCOUNT");
  const bool passive = (policy && (policy[0] == 'p' || policy[0] == 'P')) || (spin && std::atof(spin) == 0);
  const double load = std::atof(first_line("/proc/loadavg").c_str());
  const bool busy = load > 0.5 * available_threads() && available_threads() > 1;
  report.add("wait policy", !passive && busy ? Status::warn : Status::ok,
             passive ? "passive: threads sleep between products"
                     : fmt::format("libgomp's default: threads spin between products, the fastest on a machine of its "
                                   "own and many times slower beside other busy programs (load now {:.1f})",
                                   load),
             !passive && busy ? "OMP_WAIT_POLICY=passive while other programs run" : "");
  const auto set = variables({"OMP_", "GOMP_", "KMP_", "TAPETUM_"});
  report.add("variables", Status::ok, set.empty() ? "none set" : fmt::format("{}", fmt::join(set, " ")));
  std::vector<std::string> runtimes;
  for (const std::string& path : loaded_libraries())
    for (const std::string_view prefix : {"libgomp", "libomp", "libiomp"})
      if (file_name(path).starts_with(prefix)) runtimes.push_back(path);
  report.add(
      "runtimes", runtimes.size() > 1 ? Status::warn : Status::ok, fmt::format("{}", fmt::join(runtimes, " ")),
      runtimes.size() > 1 ? "two OpenMP runtimes fight for the CPUs: unset LD_PRELOAD, or start tapetum alone" : "");
}

void libraries(Report& report) {
  report.begin("libraries");
  const auto loaded = loaded_libraries();
  for (const std::string_view library : {"libdnnl", "libhwy", "libsimdjson", "libjpeg", "libpng", "libwebp", "libgif",
                                         "libfreetype", "libpcre2-8", "libcrypto"})
    for (const std::string& path : loaded)
      if (file_name(path).starts_with(library)) {
        report.add(std::string(library), Status::ok, file_name(path));
        break;
      }
  struct Late {
    const char *soname, *package, *need;
  };
  for (const Late& late :
       {Late{"libcurl.so.4", "libcurl4", "pictures and models from the network"},
        Late{"libavif.so.15", "libavif15", "AVIF pictures"}, Late{"libtiff.so.6", "libtiff6", "TIFF pictures"}}) {
    const bool there = DynamicLibrary::open(late.soname, late.need, late.package).ok();
    report.add(late.soname, there ? Status::ok : Status::missing,
               there ? fmt::format("for {}", late.need) : fmt::format("not found: no {}", late.need),
               there ? "" : fmt::format("apt-get install {}", late.package));
  }
}

// Whether a program of this name is in PATH.
bool in_path(const std::string& program) {
  const char* const path = std::getenv("PATH");
  std::string_view rest = path ? path : "";
  while (!rest.empty()) {
    const auto colon = std::min(rest.find(':'), rest.size());
    if (colon > 0 && ::access((std::string(rest.substr(0, colon)) + "/" + program).c_str(), X_OK) == 0) return true;
    rest.remove_prefix(std::min(rest.size(), colon + 1));
  }
  return false;
}

void desktop(Report& report) {
  report.begin("desktop");
  const std::string font = media::default_font_file();
  report.add("font", font.empty() ? Status::missing : Status::ok,
             font.empty() ? "no DejaVu Sans: labels are drawn with built-in letters, ASCII only" : font,
             font.empty() ? "apt-get install fonts-dejavu-core" : "");
  std::vector<std::string> tools;
  for (const char* tool : {"wl-paste", "xclip", "xsel"})
    if (in_path(tool)) tools.emplace_back(tool);
  report.add("clipboard", tools.empty() ? Status::missing : Status::ok,
             tools.empty() ? "no tool: --clipboard cannot work" : fmt::format("{}", fmt::join(tools, " ")),
             tools.empty() ? "apt-get install wl-clipboard (Wayland) or xclip (X11)" : "");
}

void models(Report& report) {
  report.begin("models");
  try {
    const std::string folder = nano_folder();
    LoadOptions load;
    load.weights = false;
    const auto nano = load_model(folder, load);
    plan_network(nano->family(), nano->files(), nano->weight_type());
    report.add("nano", Status::ok, folder);
  } catch (const Error& error) {
    report.add("nano", Status::broken, error.message(), "install tapetum again, or restore data/nano");
  }
  const HubEnv env = HubEnv::from_environment();
  const std::string cache = env.cache_folder();
  if (cache.empty()) {
    report.add("hub cache", Status::warn, "no folder: HOME and HF_HOME are not set", "export HF_HOME=/some/folder");
  } else {
    fs::path existing = cache;
    std::error_code ignored;
    while (!existing.empty() && existing != existing.root_path() && !fs::exists(existing, ignored))
      existing = existing.parent_path();
    const bool writable = ::access(existing.empty() ? "." : existing.c_str(), W_OK | X_OK) == 0;
    report.add(
        "hub cache", writable ? Status::ok : Status::warn, cache,
        writable ? "" : fmt::format("{} cannot be written: set HF_HOME to a folder of your own", existing.string()));
  }
  for (const CachedModel& model : list_models(env))
    report.add(model.name, model.missing.empty() ? Status::ok : Status::warn,
               model.missing.empty() ? human_bytes(static_cast<double>(model.bytes))
                                     : fmt::format("incomplete: {} is missing", model.missing),
               model.missing.empty() ? "" : "download it again");
  std::vector<std::string> hub, proxies;
  for (const std::string& variable : variables({"HF_", "HUGGINGFACE_", "TRANSFORMERS_"}))
    hub.push_back(without_secrets(variable));
  for (const std::string& variable : variables({"http_proxy=", "https_proxy=", "all_proxy=", "no_proxy=", "HTTP_PROXY=",
                                                "HTTPS_PROXY=", "ALL_PROXY=", "NO_PROXY="}))
    proxies.push_back(without_secrets(variable));
  report.add("variables", Status::ok, hub.empty() ? "none set" : fmt::format("{}", fmt::join(hub, " ")));
  report.add("proxy", Status::ok, proxies.empty() ? "none set" : fmt::format("{}", fmt::join(proxies, " ")));
}

}  // namespace

int run_doctor(const Options& options) {
  if (!options.words.empty()) fail(ErrorCode::usage, "doctor takes no words");
  Report report;
  openmp(report);  // before libraries are opened late: what a run has by itself
  machine(report);
  libraries(report);
  desktop(report);
  models(report);
  const auto& findings = report.findings();
  const auto count = [&](Status status) { return std::ranges::count(findings, status, &Finding::status); };
  const int code = count(Status::broken) > 0 ? 1 : 0;
  if (options.json) {
    Json json = {{"version", TAPETUM_VERSION}, {"ok", code == 0}, {"findings", Json::array()}};
    for (const Finding& f : findings)
      json["findings"].push_back({{"area", f.area},
                                  {"name", f.what},
                                  {"status", name(f.status)},
                                  {"value", f.value},
                                  {"fix", f.fix.empty() ? Json(nullptr) : Json(f.fix)}});
    write_json(json);
    return code;
  }
  std::string text = "tapetum " TAPETUM_VERSION "\n", area;
  for (const Finding& f : findings) {
    if (f.area != area) text += fmt::format("{}\n", area = f.area);
    text += fmt::format("  {:<8} {:<14} {}\n", name(f.status), f.what, f.value);
    if (!f.fix.empty()) text += fmt::format("  {:<8} {:<14} fix: {}\n", "", "", f.fix);
  }
  text += fmt::format("{} ok, {} to look at, {} missing{}\n", count(Status::ok), count(Status::warn),
                      count(Status::missing), code ? ", and something is broken" : "");
  write_out(text);
  return code;
}

}  // namespace tap::cli
