// The commands, one file each; their rows are in commands.cpp.
#pragma once

#include "cli/options.h"

namespace tap::cli {

int run_look(const Options& options);  // tapetum IMAGE… "question"
int run_describe(const Options& options);
int run_chat(const Options& options);
int run_detect(const Options& options);
int run_segment(const Options& options);
int run_count(const Options& options);
int run_batch(const Options& options);
int run_guard(const Options& options);
int run_watch(const Options& options);
int run_act(const Options& options);
int run_serve(const Options& options);
int run_compare(const Options& options);
int run_verify(const Options& options);
int run_tokenize(const Options& options);
int run_render(const Options& options);
int run_quantize(const Options& options);
int run_bench(const Options& options);
int run_doctor(const Options& options);
int run_show(const Options& options);
int run_list(const Options& options);
int run_completions(const Options& options);
int run_man(const Options& options);
int run_pull(const Options& options);
int run_rm(const Options& options);
int run_cache(const Options& options);

}  // namespace tap::cli
