// How to ask, and what comes back.
#pragma once

#include <cstdint>
#include <functional>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include <tapetum/error.h>

namespace tap {
namespace v1 [[gnu::visibility("default")]] {

// Called while the library works, after every layer of the network and every token, and while a call waits for another
// one's: many times a second, on the thread that called. `false` ends the work: the call throws Error (cancelled) and
// everything is as before it. It must be quick, and may not use the model that called it (Error usage). What it throws
// ends the work too and reaches the caller.
//   const auto deadline = std::chrono::steady_clock::now() + std::chrono::seconds(5);
//   const tap::KeepOn in_time = [=] { return std::chrono::steady_clock::now() < deadline; };
using KeepOn = std::function<bool()>;

// What is not set is the model's own choice (its generation_config.json), else the likeliest token each time.
struct AskOptions {
  std::int64_t max_tokens = 512;           // at least 1; cut to what the context leaves
  std::optional<float> temperature = {};   // [0, 100]; 0 takes the likeliest token
  std::optional<float> top_p = {};         // [0, 1]: sample among the likeliest tokens that together reach this
  std::optional<std::int64_t> top_k = {};  // at least 0: among so many of the likeliest; 0 = all
  std::optional<float> min_p = {};         // [0, 1]: drop tokens less likely than this share of the likeliest
  std::uint64_t seed = 0;                  // the same seed gives the same answer
  std::vector<std::string> stop = {};      // the answer ends before any of these
  KeepOn keep_on = {};                     // empty: nothing interrupts
  // At most one of these three; the answer is then of that form exactly, however likely another one was. Throws usage
  // for a form that cannot be read or two at once. An answer that max_tokens cuts is the beginning of one.
  std::vector<std::string> choices = {};  // one of these, at most 10 000 of 64 KiB in all
  std::string regex = {};                 // what matches as a whole; no back references, no looking around
  std::string json_schema = {};           // the text of a JSON Schema
};

enum class Finish {
  stop,   // the model ended its answer, or a stop text came
  length  // max_tokens or the context's end was reached: there may have been more
};

// "stop": the same words that the program's JSON has as `finish_reason`.
std::string_view name(Finish finish) noexcept;

// One answer, whole.
struct Answer {
  std::string text = {};  // UTF-8, without white space at its ends
  Finish finish = Finish::stop;
  std::int64_t prompt_tokens = 0;  // of the whole conversation so far, pictures included
  std::int64_t image_tokens = 0;   // how many of them stand for pictures
  std::int64_t cached_tokens = 0;  // how many of them were known from earlier turns and cost nothing
  std::int64_t output_tokens = 0;
  double first_token_ms = 0;  // from the question to the first token
  double total_ms = 0;        // from the question to the last token, the caller's own time between tokens not counted
};

// A box in pixels of the picture: x to the right, y down; x1 <= x2, y1 <= y2, within the picture.
struct Box {
  float x1 = 0, y1 = 0, x2 = 0, y2 = 0;
  bool operator==(const Box&) const = default;
};

struct Point {
  float x = 0, y = 0;
  bool operator==(const Point&) const = default;
};

// Which pixels of a picture belong to a thing.
struct Mask {
  std::int64_t width = 0, height = 0;     // of the picture
  std::vector<std::uint8_t> pixels = {};  // rows from the top; 1 inside, 0 outside
};

struct Detection {
  std::string label = {};
  Box box = {};                     // of a point: the point twice
  std::optional<float> score = {};  // [0, 1]: how sure the model was of the tokens that say where; unset where unknown
  std::optional<Point> point = {};  // when points were asked for
  std::optional<Mask> mask = {};    // from `segment`
};

// How many there are, counted twice.
struct Count {
  std::string label = {};
  std::int64_t boxes = 0;                     // by finding them; boxes on each other count once
  std::optional<std::int64_t> answered = {};  // by asking; unset when the answer is no number
};

}  // namespace gnu::visibility("default")]]
}  // namespace tap
