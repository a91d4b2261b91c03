// A loaded model and conversations with it.
#pragma once

#include <cstdint>
#include <functional>
#include <initializer_list>
#include <iterator>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include <tapetum/answer.h>
#include <tapetum/guard.h>
#include <tapetum/image.h>
#include <tapetum/message.h>

namespace tap::api {  // the library's inside
struct Engine;
struct Talk;
struct Turn;
}  // namespace tap::api

namespace tap {
namespace v1 [[gnu::visibility("default")]] {

class Chat;

// How weights are kept in memory. automatic: bf16 for models below 64 million parameters, q8 for larger ones.
enum class Dtype { automatic, f32, bf16, q8, q4 };

struct LoadOptions {
  Dtype dtype = Dtype::automatic;
  int threads = 0;      // CPU threads, at most 4096; 0 = those that this process may use (affinity and cgroup quota)
  KeepOn keep_on = {};  // while loading
};

struct ChatOptions {
  std::string system = {};   // a system message before the first question; empty: none
  std::int64_t context = 0;  // most tokens of the whole conversation; 0, or more than the model has: the model's
  // Guards judge the pictures or the questions before the model sees them, and its answers before anybody does: by
  // sentence, at most 200 characters held back. What one refuses throws refused, and the turn is taken back.
  std::vector<Guard> before = {}, behind = {};
  std::vector<Message> earlier = {};  // what was said already, behind the system message; Chat::clear keeps it
};

// What became of one conversation of many: one of the two.
struct Outcome {
  std::optional<Answer> answer = {};
  std::optional<Error> error = {};
};

// A model, ready to answer. Copies are handles to the same weights.
//
// Threads: any number of threads may use one model, its copies and its chats. Their calls take turns, because one call
// already uses all the threads it was given; different models run at the same time.
class Model {
 public:
  // `name`: "nano" (the model that comes with tapetum), a folder in the hub's format, or "org/name" in the local hub
  // cache; nothing is downloaded. Throws not_found, bad_file naming file and key, unsupported for other kinds of
  // model, out_of_memory, usage for options out of range.
  //   const tap::Model model = tap::Model::load("nano", {.dtype = tap::Dtype::q8, .threads = 2});
  static Model load(const std::string& name = "nano", const LoadOptions& options = {});

  const std::string& name() const noexcept;  // "nano"
  std::int64_t context() const noexcept;     // most tokens of one conversation, pictures and answer included
  std::int64_t width() const noexcept;       // length of what `embed` gives
  bool can_detect() const noexcept;          // whether it was trained to give boxes

  // A new conversation. Throws usage when `context` is negative, unsupported for a guard behind it that judges pictures
  // only.
  Chat chat(const ChatOptions& options = {}) const;

  // One question about one picture: a chat of one turn. Errors as Chat::ask.
  //   std::cout << model.ask(roof, "What is on the roof?").text << "\n";
  Answer ask(const Image& image, std::string_view question, const AskOptions& options = {}) const;

  // The assistant's next message of a conversation that ends with the user's. One that ends with the assistant's is
  // gone on with: the answer is what follows its last words, white space at the beginning included. Throws usage for no
  // messages; bad_input for what the model's chat template refuses, such as roles that do not alternate; else as
  // Chat::ask.
  //   const tap::Message asked{tap::Role::user, {{.image = roof}, {"What is on the roof?"}}};
  //   std::cout << model.answer({&asked, 1}).text << "\n";
  Answer answer(std::span<const Message> messages, const AskOptions& options = {}) const;

  // Many conversations, up to `at_once` of them computed together: faster than one after the other, and the same
  // answers (to the bit with q8 weights; otherwise sums round differently). One that fails ends alone. Throws usage for
  // options out of range, cancelled, and what keep_on throws: then nothing of any is kept.
  std::vector<Outcome> answer_all(std::span<const std::vector<Message>> conversations, const AskOptions& options = {},
                                  std::int64_t at_once = 8) const;

  // Where things are, in the picture's own pixels and the model's order, none when nothing is found. `phrase` may be a
  // sentence and name several things: "the bird on the roof", "point to the cup", "cat ; dog". Throws unsupported
  // unless can_detect(), or for points or masks that the model cannot give; usage for a phrase that says nothing.
  //   for (const tap::Detection& found : model.detect(roof, "bird on the roof"))
  //     std::cout << found.label << " at x " << found.box.x1 << "\n";
  std::vector<Detection> detect(const Image& image, std::string_view phrase, const AskOptions& options = {}) const;
  // The same with masks. `mask_weights`: the file of PaliGemma's mask decoder; empty: vae-oid.npz in the model's
  // folder. Throws not_found, bad_file for that file.
  std::vector<Detection> segment(const Image& image, std::string_view phrase, const std::string& mask_weights = {},
                                 const AskOptions& options = {}) const;
  // How many of each thing there are.
  //   std::cout << model.count(roof, "birds").front().boxes << "\n";
  std::vector<Count> count(const Image& image, std::string_view phrase, const AskOptions& options = {}) const;

  // Vectors of `width()` numbers, not normalised, for comparing like with like (see `cosine`). The models here are not
  // trained for retrieval: near means "seen or read alike", and the three kinds below lie in different spaces that
  // must not be mixed.
  //
  // Of a picture: the mean over its feature rows [image_tokens, width], the ones that take the place of words in the
  // prompt (after tower and connector, before the decoder). Throws limit when the picture alone fills the context.
  //   const double alike = tap::cosine(model.embed(roof), model.embed(yard));
  std::vector<float> embed(const Image& image, const KeepOn& keep_on = {}) const;
  // Of a text: the decoder's last hidden state, after its final norm, at the last token of the bare text (no chat
  // template; a begin token where the tokenizer adds one). Throws bad_input for an empty text, limit beyond the
  // context.
  std::vector<float> embed(std::string_view text, const KeepOn& keep_on = {}) const;
  // Of a picture in the light of a text: the same state at the end of the chat prompt that asks `text` about the
  // picture; the state from which the first token of an answer is chosen.
  std::vector<float> embed(const Image& image, std::string_view text, const KeepOn& keep_on = {}) const;

 private:
  friend struct api::Access;
  explicit Model(std::shared_ptr<api::Engine> engine) noexcept : engine_(std::move(engine)) {}
  std::shared_ptr<api::Engine> engine_;
};

// An answer while it is made, piece by piece: a range, or `next()`.
//   for (const std::string& piece : chat.stream("Describe the image.", {yard})) std::cout << piece << std::flush;
// A Stream that is destroyed before its end takes its question back. One thread at a time.
class Stream {
 public:
  Stream(Stream&&) noexcept;
  Stream& operator=(Stream&&) noexcept;
  ~Stream();

  // The next piece of text: valid UTF-8, never empty, no white space at the answer's start; nothing at the end.
  // Throws what computing throws, cancelled, and usage when its chat has begun another turn since.
  std::optional<std::string> next();

  // The whole answer, once next() has given nothing; throws usage before.
  const Answer& answer() const;

  class Iterator {
   public:
    using iterator_concept = std::input_iterator_tag;
    using difference_type = std::ptrdiff_t;
    using value_type = std::string;
    explicit Iterator(Stream& stream) : stream_(&stream), piece_(stream.next()) {}
    const std::string& operator*() const { return *piece_; }
    const std::string* operator->() const { return &*piece_; }
    Iterator& operator++() {
      piece_ = stream_->next();
      return *this;
    }
    void operator++(int) { ++*this; }
    bool operator==(std::default_sentinel_t) const { return !piece_; }

   private:
    Stream* stream_;
    std::optional<std::string> piece_;
  };
  Iterator begin() { return Iterator(*this); }  // once
  std::default_sentinel_t end() const noexcept { return {}; }

 private:
  friend struct api::Access;
  explicit Stream(std::unique_ptr<api::Turn> turn) noexcept;
  std::unique_ptr<api::Turn> turn_;
};

// A conversation with pictures. It remembers all turns, and computes only what is new of each. A turn that fails, is
// cancelled or is not read to its end is taken back. Movable; its calls from several threads take turns.
class Chat {
 public:
  Chat(Chat&&) noexcept = default;
  Chat& operator=(Chat&&) noexcept = default;

  // Asks, with new pictures if any (they come before the words), and waits for the whole answer. Throws usage for an
  // empty question or options out of range, limit when conversation and one token do not fit the context, cancelled,
  // out_of_memory, unsupported when the model has no chat template.
  //   tap::Chat chat = model.chat();
  //   std::cout << chat.ask("What is on the roof?", {roof}).text << "\n";
  //   std::cout << chat.ask("What color is the house?").text << "\n";
  Answer ask(std::string_view question, std::span<const Image> images = {}, const AskOptions& options = {});
  Answer ask(std::string_view question, std::initializer_list<Image> images, const AskOptions& options = {}) {
    return ask(question, std::span(images.begin(), images.size()), options);
  }

  // The same, piece by piece. Computing begins with the Stream's first next(). A running Stream of this chat ends.
  Stream stream(std::string_view question, std::span<const Image> images = {}, const AskOptions& options = {});
  Stream stream(std::string_view question, std::initializer_list<Image> images, const AskOptions& options = {}) {
    return stream(question, std::span(images.begin(), images.size()), options);
  }

  std::int64_t turns() const;  // questions that were answered
  void clear();                // forgets them; the system message stays

 private:
  friend struct api::Access;
  explicit Chat(std::shared_ptr<api::Talk> talk) noexcept : talk_(std::move(talk)) {}
  std::shared_ptr<api::Talk> talk_;
};

// A copy of the picture with frames and labels drawn on it.
//   tap::draw(roof, model.detect(roof, "bird on the roof")).save("found.png");
Image draw(const Image& image, std::span<const Detection> detections);

// Cosine of the angle between two vectors of one length, [-1, 1]; 0 when one is all zeros. Throws usage when lengths
// differ.
double cosine(std::span<const float> a, std::span<const float> b);

// Where the library says what is odd but no error (a model folder without a file that has a default, an answer cut
// short): one line each, from any thread. By default nowhere. One for the whole process.
//   tap::on_warning([](std::string_view line) { std::cerr << line << "\n"; });
void on_warning(std::function<void(std::string_view)> sink);

}  // namespace gnu::visibility("default")
}  // namespace tap
