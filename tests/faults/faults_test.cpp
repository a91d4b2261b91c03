// What happens when memory or the disk fails in the middle: an error that names it, and everything else goes on.
#include "faults.h"

#include <doctest/doctest.h>

#include "base/file.h"
#include "base/rng.h"
#include "runtime/session.h"
#include "support/temp_folder.h"

using namespace tap;
using faults::Call;

namespace {

const std::string checkpoint = std::filesystem::canonical(TAPETUM_SOURCE_DIR "/tests/families/smolvlm/checkpoint");

std::unique_ptr<Model> load(Dtype dtype) {
  LoadOptions options;
  options.dtype = dtype;
  return load_model(checkpoint, options);
}

std::shared_ptr<const Image> picture() {
  auto image = std::make_shared<Image>(70, 40);
  for (std::size_t i = 0; i < image->pixels.size(); ++i) image->pixels[i] = static_cast<std::uint8_t>(i * i >> 3);
  return image;
}

std::vector<TokenId> ask(Session& session, const std::shared_ptr<const Image>& image) {
  GenerateOptions options;
  options.max_tokens = 4;
  options.ignore_end = true;
  Generation generation = session.ask(Conversation().user("What is it?", {image}), options);
  while (generation.next()) {
  }
  return generation.output();
}

// "done", or the message of the Error(out_of_memory); other errors fail the test.
std::string outcome(auto&& fn) {
  try {
    fn();
    return "done";
  } catch (const Error& error) {
    CHECK(error.code() == ErrorCode::out_of_memory);
    return error.message();
  }
}

// The number of allocations that fn makes: the first n whose failing changes nothing.
std::uint64_t allocations_of(Arena& arena, auto&& fn) {
  std::uint64_t low = 0, high = 1;
  const auto fails = [&](std::uint64_t n) {
    arena.fail_after(n);
    const bool failed = outcome(fn) != "done";
    arena.fail_after(0);
    return failed;
  };
  while (fails(high)) low = high, high *= 2;
  while (high - low > 1) {
    const std::uint64_t middle = (low + high) / 2;
    (fails(middle) ? low : high) = middle;
  }
  return low;
}

}  // namespace

TEST_CASE("[F05] every allocation of a load may fail and leaves nothing behind") {
  for (const Dtype dtype : {Dtype::f32, Dtype::q8}) {
    ExecContext context(1);
    const ExecContext::Scope scope(context);
    Arena& arena = *context.arena();
    load(dtype);  // what a first load keeps for good
    const std::size_t before = arena.stats().in_use_bytes;
    std::uint64_t n = 1;
    for (;; ++n) {
      arena.fail_after(n);
      const std::string said = outcome([&] { load(dtype); });
      arena.fail_after(0);
      if (said == "done") break;
      CHECK(said.find("out of memory") != std::string::npos);
      CHECK(arena.stats().in_use_bytes == before);
    }
    CHECK(n > 20);
    CHECK(arena.stats().in_use_bytes == before);
  }
}

TEST_CASE("[F05] allocations of encode and decode may fail and the session answers as before") {
  ExecContext context(1);
  const ExecContext::Scope scope(context);
  const auto model = load(Dtype::f32);
  Arena& arena = *context.arena();
  const auto image = picture();
  const auto fresh = [&] {
    Session session(*model);
    return ask(session, image);
  };
  const std::vector<TokenId> want = fresh();
  const std::uint64_t count = allocations_of(arena, fresh);
  CHECK(count > 50);
  Session lasting(*model);
  Rng rng(5);
  for (int i = 0; i < 500; ++i) {
    const std::uint64_t n = 1 + rng.next_u32() % count;
    CAPTURE(n);
    arena.fail_after(n);
    const std::string said = outcome([&] {
      if (i % 2)
        fresh();
      else
        ask(lasting, image);  // pictures and prefixes that are kept leave fewer allocations: it may finish
    });
    arena.fail_after(0);
    if (i % 2) CHECK(said.find("out of memory") != std::string::npos);
    if (i % 25 == 0) CHECK(ask(lasting, image) == want);
  }
  CHECK(fresh() == want);
}

TEST_CASE("[F03] a read of the weights that fails names the file and another session goes on") {
  ExecContext context(1);
  const ExecContext::Scope scope(context);
  const auto model = load(Dtype::f32);
  Session session(*model);
  const auto image = picture();
  const std::vector<TokenId> want = ask(session, image);
  const std::string weights = checkpoint + "/model.safetensors";
  std::uint64_t n = 1;
  for (;; ++n) {
    CAPTURE(n);
    std::string said = "loaded";
    {
      const faults::FaultScope fault({.call = Call::pread, .nth = n, .error = EIO, .path = weights});
      try {
        load(Dtype::f32);
      } catch (const Error& error) {
        CHECK(error.code() == ErrorCode::io);
        said = error.message();
      }
    }
    if (!faults::fired()) break;
    CHECK(said.find("model.safetensors: reading at byte") != std::string::npos);
    CHECK(said.find("Input/output error") != std::string::npos);
  }
  CHECK(n > 10);
  CHECK(ask(session, image) == want);
}

TEST_CASE("[F03] short reads are read on and give the same answer") {
  ExecContext context(1);
  const ExecContext::Scope scope(context);
  const auto image = picture();
  std::vector<TokenId> want;
  for (const std::uint64_t n : {1, 2, 3, 7, 11}) {
    const faults::FaultScope fault({.call = Call::pread, .nth = n, .error = 0, .path = checkpoint});
    const auto model = load(Dtype::f32);
    CHECK(faults::fired());
    Session session(*model);
    const std::vector<TokenId> got = ask(session, image);
    if (want.empty()) want = got;
    CHECK(got == want);
  }
}

TEST_CASE("[F03] a read of a text file that fails is named") {
  for (const char* name : {"config.json", "tokenizer.json", "chat_template.json", "preprocessor_config.json"}) {
    CAPTURE(std::string(name));
    const faults::FaultScope fault({.call = Call::read, .nth = 1, .error = EIO, .path = checkpoint + "/" + name});
    try {
      load(Dtype::f32);
      FAIL("loaded");
    } catch (const Error& error) {
      CHECK(error.message().find(name) != std::string::npos);
      CHECK(error.message().find("Input/output error") != std::string::npos);
    }
  }
}

TEST_CASE("[F02] writing that fails anywhere leaves the old file and nothing else") {
  const test::TempFolder folder;
  const std::string path = folder / "out.png";
  const std::string real = std::filesystem::canonical(folder.path()).string();
  const std::string old = "old", fresh(100'000, 'x');
  for (const Call call : {Call::write, Call::fsync, Call::rename}) {
    for (const int error : {EIO, ENOSPC, EDQUOT}) {
      folder.write("out.png", old);
      std::string said = "written";
      {
        const faults::FaultScope fault({.call = call, .nth = 1, .error = error, .path = real});
        try {
          write_file_atomic(path, fresh);
        } catch (const Error& thrown) {
          CHECK(thrown.code() == ErrorCode::io);
          said = thrown.message();
        }
      }
      CHECK(faults::fired());
      CHECK(said.starts_with(path + ": "));
      CHECK(said.find(reason_of(error)) != std::string::npos);
      CHECK(read_file(path, 1 << 20).value() == old);
      CHECK(std::distance(std::filesystem::directory_iterator(folder.path()), {}) == 1);
    }
  }
  const faults::FaultScope fault({.call = Call::write, .nth = 1, .error = 0, .path = real});  // half of it first
  write_file_atomic(path, fresh);
  CHECK(faults::fired());
  CHECK(read_file(path, 1 << 20).value() == fresh);
}
