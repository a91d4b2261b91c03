// --dry-run: what a run would take, with nothing loaded, decoded or computed. Admission: the same plan before weights
// are read.
#pragma once

#include <functional>
#include <string>

#include "cli/options.h"
#include "cli/pictures.h"
#include "runtime/model.h"

namespace tap::cli {

// Prints sizes, tokens, memory and estimated time of asking `question` (some depend on the model) about each picture.
// Exit code 1 when a picture cannot be read or the run would be refused.
int dry_run(const PictureList& pictures, const std::function<std::string(const Model&)>& question,
            const Options& options);

// For LoadOptions::admit: sets how many of at most `items` are computed at once, as --batch or memory says, and throws
// Error(out_of_memory) when the run will not fit what is available, unless forced. The arguments must outlive it.
std::function<void(const Model&)> admission(const Options& options, const PictureList& pictures, Dim items,
                                            Dim& sequences, std::function<void(Dim)> need = {});

}  // namespace tap::cli
