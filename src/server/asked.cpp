#include "server/asked.h"

#include <new>
#include <optional>
#include <utility>

#include "server/chat_reply.h"

namespace tap::server {

namespace {

// One of a request's answers on its way from the engine to the client: through the output guards, counted.
class Outlet {
 public:
  Outlet(const Asked& asked, std::shared_ptr<Reply> reply, std::size_t number, std::unique_ptr<AnswerFilter> filter)
      : exchange_(asked.exchange),
        metrics_(asked.post.metrics),
        model_(asked.model),
        reply_(std::move(reply)),
        number_(number),
        filter_(std::move(filter)) {}

  // False once the answer is refused.
  bool token(const BatchGenerator::Event& event) {
    if (spoken_) metrics_.gap(since_.s());
    spoken_ = true;
    since_ = Stopwatch();
    if (refused_) return false;
    if (!filter_) return reply_->token(number_, event), true;
    BatchGenerator::Event passed = event;
    if (!judged([&] { passed.token.text = filter_->feed(event.token.text); })) return false;
    reply_->token(number_, passed);
    return true;
  }
  void end(BatchGenerator::Finished finished) {
    if (!finished.error && filter_ && !refused_)
      judged([&] {
        finished.rest = filter_->feed(finished.rest);
        finished.rest += filter_->finish();
      });
    if (refused_) finished.error = refused_;
    if (finished.error) {
      exchange_->note("error", finished.error->message());
    } else {
      const Timings& t = finished.answer.timings;
      metrics_.answer(model_, t, name(finished.answer.finish_reason));
      exchange_->note("prompt_tokens", t.prompt_tokens);
      exchange_->note("cached_tokens", t.cached_tokens);
      exchange_->note("output_tokens", t.output_tokens);
      exchange_->note("first_token_ms", t.first_token_ms);
      exchange_->note("encode_ms", t.encode.ms);
      exchange_->note("prefill_ms", t.prefill.ms);
      exchange_->note("decode_ms", t.decode.ms);
    }
    reply_->end(number_, finished);
  }

 private:
  // Whether it passed: what cannot be judged does not.
  bool judged(const std::function<void()>& judge) {
    refused_ = error_in(judge);
    if (refused_) metrics_.refused("guard");
    return !refused_;
  }
  std::shared_ptr<ObservedExchange> exchange_;
  Metrics& metrics_;
  std::string model_;
  std::shared_ptr<Reply> reply_;
  std::size_t number_;
  std::unique_ptr<AnswerFilter> filter_;
  std::optional<Error> refused_;
  Stopwatch since_;
  bool spoken_ = false;
};

// On the preparing thread, or behind the guards on the engine thread.
void submit(const Asked& asked, int choices, const GenerateOptions& generate, const Conversation& conversation,
            const PreparedPrompt& prompt, const std::vector<PictureKey>& pictures,
            const std::shared_ptr<Reply>& reply) {
  std::vector<Job> jobs;
  for (int i = 0; i < choices; ++i) {
    const auto outlet = std::make_shared<Outlet>(asked, reply, static_cast<std::size_t>(i),
                                                 asked.post.guards.filter(conversation, "the answer"));
    Job job{.request = {prompt, generate, asked.owner, pictures},
            .work = {},
            .on_token = [outlet](const BatchGenerator::Event& event) { return outlet->token(event); },
            .on_end = [outlet](BatchGenerator::Finished finished) { outlet->end(std::move(finished)); },
            .asker = asked.asker};
    job.request.generate.sampling.seed += static_cast<std::uint64_t>(i);
    jobs.push_back(std::move(job));
  }
  cancel_when_gone(*asked.exchange, asked.engine->submit(std::move(jobs)));
}

}  // namespace

void cancel_when_gone(HttpExchange& exchange, const std::function<void()>& cancel) {
  try {
    exchange.on_gone(cancel);
  } catch (const std::bad_alloc&) {
    cancel();
    throw;
  }
}

void respond_error(HttpExchange& exchange, const Error& error) {
  Failure failure = failure_of(error);
  exchange.respond(failure.status, "application/json", std::move(failure.body));
}

void answer_errors(HttpExchange& exchange, const std::function<void()>& step) {
  try {  // not error_in, whose copy would lose the status of a StatusError
    step();
  } catch (const Error& error) {
    respond_error(exchange, error);
  } catch (const std::bad_alloc&) {
    respond_error(exchange, out_of_memory());
  }
}

void after_judging(const Asked& asked, const Conversation& conversation, std::function<void()> then) {
  if (asked.post.guards.empty()) return then();
  const auto exchange = asked.exchange;
  GuardPost& post = asked.post;
  Job job;
  job.work = [&post, conversation] {
    for (const Medium& medium : conversation.media()) {
      if (medium.image)
        post.guards.judge_picture(medium.image, "the picture");
      else
        post.guards.judge_frames(
            static_cast<Dim>(medium.clip->frames.size()),
            [&](Dim i) { return std::make_shared<const Image>(medium.clip->frames[static_cast<std::size_t>(i)]); },
            "the video");
    }
    post.guards.judge_words(conversation, "the question");
  };
  job.on_end = [&post, exchange, then = std::move(then)](const BatchGenerator::Finished& finished) {
    if (finished.error && finished.error->code() == ErrorCode::refused) post.metrics.refused("guard");
    if (finished.error) return respond_error(*exchange, *finished.error);
    answer_errors(*exchange, then);
  };
  job.asker = asked.asker;
  cancel_when_gone(*exchange, asked.engine->submit(std::move(job)));
}

void answer(const Asked& asked, const ChatRequest& request, const std::shared_ptr<Reply>& reply) {
  const Model& model = asked.engine->model();
  if (asked.post.guards.judges_answers() && request.logprobs)
    throw Error(ErrorCode::unsupported,
                "logprobs: would tell of tokens that a guard holds back; this server judges answers", "logprobs");
  const Conversation conversation = asked.media.conversation(request, model);
  const PreparedPrompt prompt = model.prepare(conversation);
  require_fits(prompt, request.generate, asked.engine->context());
  const std::vector<PictureKey> pictures = media_keys(model, prompt);
  // Without the request: its data: URLs are large, and the pictures are read.
  after_judging(asked, conversation,
                [asked, choices = request.choices, generate = request.generate, conversation, prompt, pictures, reply] {
                  submit(asked, choices, generate, conversation, prompt, pictures, reply);
                });
}

}  // namespace tap::server
