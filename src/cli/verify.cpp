// tapetum verify FOLDER…
#include "tasks/verify.h"

#include <algorithm>

#include "cli/commands.h"
#include "cli/output.h"

namespace tap::cli {

namespace {

Json to_json(const std::string& folder, const VerifyRow& row, bool several) {
  Json json = Json::object();
  if (several) json["folder"] = folder;
  json.update({{"case", row.case_name}, {"stage", row.stage}, {"from", row.from}, {"status", name(row.status)}});
  json["max_abs"] = row.max_abs ? Json(*row.max_abs) : Json(nullptr);
  json["relative"] = row.relative ? Json(*row.relative) : Json(nullptr);
  json["tolerance"] = row.tolerance;
  if (!row.note.empty()) json["note"] = row.note;
  return json;
}

std::string line(const VerifyRow& row) {
  const std::string difference = row.max_abs ? fmt::format("{:.3g}", *row.max_abs) : "-";
  const std::string note = row.note.empty() ? "" : fmt::format("  ({})", row.note);
  if (row.status == VerifyStatus::measured)
    return fmt::format("{:<16} {:<22} from {:<7} {:<9} {:>9}{}{}\n", row.case_name, row.stage, row.from,
                       name(row.status), difference, row.relative ? fmt::format(", {:.2e} of it", *row.relative) : "",
                       note);
  return fmt::format("{:<16} {:<22} from {:<7} {:<9} {:>9} of {:<8.3g}{}\n", row.case_name, row.stage, row.from,
                     name(row.status), difference, row.tolerance, note);
}

}  // namespace

int run_verify(const Options& options) {
  if (options.words.empty())
    fail(ErrorCode::usage, "verify takes at least one golden folder; see tapetum verify --help");
  // The reference computes in f32: `auto` is that here, whatever the checkpoint's size.
  const Dtype dtype = options.dtype == "auto" ? Dtype::f32 : *parse_dtype(options.dtype);
  Json all = Json::array();
  bool good = true;
  for (const std::string& folder : options.words) {
    const VerifyReport report = verify(folder, {options.allow_unchecked, dtype});
    good &= report.passed();
    std::array<int, 6> counts{};
    for (const VerifyRow& row : report.rows) {
      ++counts[static_cast<std::size_t>(row.status)];
      if (options.json)
        all.push_back(to_json(folder, row, options.words.size() > 1));
      else if (!options.quiet || row.status == VerifyStatus::failed || row.status == VerifyStatus::unchecked)
        write_out(line(row));
    }
    const auto count = [&](VerifyStatus status) { return counts[static_cast<std::size_t>(status)]; };
    if (!options.json)
      write_out(fmt::format("{}: {} passed, {} failed, {} unchecked, {} excused, {} unknown{}\n", folder,
                            count(VerifyStatus::passed), count(VerifyStatus::failed), count(VerifyStatus::unchecked),
                            count(VerifyStatus::excused), count(VerifyStatus::unknown),
                            dtype == Dtype::f32 ? "" : fmt::format(", {} measured", count(VerifyStatus::measured))));
  }
  if (options.json) write_json(all);
  return good ? 0 : 1;
}

}  // namespace tap::cli
