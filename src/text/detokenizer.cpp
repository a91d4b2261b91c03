#include "text/detokenizer.h"

#include <algorithm>

#include "text/bpe.h"
#include "text/tokenizer_impl.h"
#include "text/tokenizer_unicode.h"

namespace tap {

namespace {

using Kind = DecodeStep::Kind;

constexpr std::string_view kReplacement = "\xEF\xBF\xBD";

std::string replaced(const DecodeStep& step, std::string_view text) {
  std::string out;
  std::size_t done = 0;
  const auto put = [&](std::size_t begin, std::size_t end) {
    out.append(text, done, begin - done);
    out += step.content;
    done = end;
  };
  if (step.kind == Kind::replace_regex) {
    std::vector<TextRange> matches;
    step.regex->find_all(text, matches);
    for (const TextRange& match : matches) put(match.begin, match.end);
  } else {
    for (std::size_t at = 0; (at = text.find(step.pattern, at)) != std::string_view::npos; at = done)
      put(at, at + step.pattern.size());
  }
  out.append(text, done);
  return out;
}

// Of one whole token: at most `start` leading and `stop` trailing characters equal to the content.
std::string_view stripped(const DecodeStep& step, std::string_view text) {
  for (std::size_t i = 0; i < step.start && text.starts_with(step.content); ++i)
    text.remove_prefix(step.content.size());
  for (std::size_t i = 0; i < step.stop && text.ends_with(step.content); ++i) text.remove_suffix(step.content.size());
  return text;
}

}  // namespace

Result<bool> check_decode_steps(std::vector<DecodeStep>& steps, std::string_view where) {
  bool fused = false;
  for (DecodeStep& step : steps) {
    step.fused = fused;
    if (fused && (step.kind == Kind::byte_level || step.kind == Kind::byte_fallback))
      return make_error(ErrorCode::unsupported,
                        "{}: ByteLevel or ByteFallback after the tokens were fused is not supported", where);
    fused = fused || step.kind == Kind::fuse || step.kind == Kind::byte_level || step.kind == Kind::raw_bytes;
  }
  return true;
}

void DecodeChain::push(std::size_t at, std::string_view token, std::string& out) {
  if (at == steps_->size()) {
    out += token;
    return;
  }
  const DecodeStep& step = (*steps_)[at];
  State& state = states_[at];
  switch (step.kind) {
    case Kind::fuse: push(at + 1, token, out); break;
    case Kind::raw_bytes: push_bytes(at, token, out); break;
    case Kind::byte_level: {
      std::string bytes;
      push_bytes(at, uni::unmap_bytes(token, bytes) ? std::string_view(bytes) : token, out);
      break;
    }
    case Kind::byte_fallback:
      if (const int byte = byte_of_fallback_token(token); byte >= 0) {
        state.held.push_back(static_cast<char>(static_cast<unsigned char>(byte)));
      } else {
        flush_fallback(at, out);
        push(at + 1, token, out);
      }
      break;
    case Kind::replace_text:
    case Kind::replace_regex:
      if (step.fused) push_replace(at, token, out);
      else push(at + 1, replaced(step, token), out);
      break;
    case Kind::strip:
      if (step.fused) push_strip(at, token, out);
      else push(at + 1, stripped(step, token), out);
      break;
    case Kind::metaspace: {
      DecodeStep plain;
      plain.kind = Kind::replace_text;
      plain.pattern = step.content;
      plain.content = step.drop_first && (step.fused || !state.started) ? "" : " ";
      state.started = true;
      push(at + 1, replaced(plain, token), out);
      break;
    }
    case Kind::join_with_spaces:
      if (state.started) push(at + 1, " ", out);
      state.started = true;
      push(at + 1, token, out);
      break;
  }
}

// Passes on whole characters; what only lacks its end waits.
void DecodeChain::push_bytes(std::size_t at, std::string_view bytes, std::string& out) {
  std::string& held = states_[at].held;
  std::string joined;
  if (!held.empty()) {
    joined = std::move(held);
    held.clear();
    joined += bytes;
    bytes = joined;
  }
  std::size_t end = bytes.size();
  for (std::size_t back = 1; back <= 3 && back <= bytes.size();
       ++back) {  // a character has at most three bytes before its last
    const auto byte = static_cast<unsigned char>(bytes[bytes.size() - back]);
    if (byte < 0x80) break;
    if (byte < 0xC0) continue;
    if (uni::next_part(bytes, bytes.size() - back).cut) end = bytes.size() - back;
    break;
  }
  const std::string text = uni::sanitize(bytes.substr(0, end));
  held = bytes.substr(end);
  if (!text.empty()) push(at + 1, text, out);
}

// One text in fragments: what may be the beginning of the pattern waits.
void DecodeChain::push_replace(std::size_t at, std::string_view text, std::string& out) {
  const DecodeStep& step = (*steps_)[at];
  std::string& held = states_[at].held;
  held += text;
  if (step.kind == Kind::replace_regex) return;  // it may look at everything
  std::string ready;
  std::size_t done = 0;
  for (std::size_t found; (found = held.find(step.pattern, done)) != std::string::npos;
       done = found + step.pattern.size()) {
    ready.append(held, done, found - done);
    ready += step.content;
  }
  std::size_t keep = std::min(held.size() - done, step.pattern.size() - 1);
  while (keep > 0 && !std::string_view(step.pattern).starts_with(std::string_view(held).substr(held.size() - keep)))
    --keep;
  ready.append(held, done, held.size() - keep - done);
  held.erase(0, held.size() - keep);
  if (!ready.empty()) push(at + 1, ready, out);
}

void DecodeChain::push_strip(std::size_t at, std::string_view text, std::string& out) {
  const DecodeStep& step = (*steps_)[at];
  State& state = states_[at];
  while (!state.started && state.dropped < step.start && text.starts_with(step.content)) {
    text.remove_prefix(step.content.size());
    ++state.dropped;
  }
  if (text.empty()) return;
  state.started = true;
  std::string ready = std::move(state.held);
  ready += text;
  std::size_t end = ready.size();
  for (std::size_t i = 0; i < step.stop && std::string_view(ready).substr(0, end).ends_with(step.content); ++i)
    end -= step.content.size();
  state.held = ready.substr(end);
  ready.resize(end);
  if (!ready.empty()) push(at + 1, ready, out);
}

// A run of byte tokens is text when all of it is valid UTF-8, else one U+FFFD for each byte (tokenizers' ByteFallback).
void DecodeChain::flush_fallback(std::size_t at, std::string& out) {
  std::string run = std::move(states_[at].held);
  states_[at].held.clear();
  if (run.empty()) return;
  if (uni::is_valid_utf8(run)) {
    push(at + 1, run, out);
    return;
  }
  for (std::size_t i = 0; i < run.size(); ++i) push(at + 1, kReplacement, out);
}

void DecodeChain::finish(std::string& out) {
  for (std::size_t at = 0; at < steps_->size(); ++at) {
    const DecodeStep& step = (*steps_)[at];
    State& state = states_[at];
    if (step.kind == Kind::byte_fallback) {
      flush_fallback(at, out);
    } else if ((step.kind == Kind::byte_level || step.kind == Kind::raw_bytes) && !state.held.empty()) {
      push(at + 1, kReplacement, out);
    } else if (step.kind == Kind::replace_regex && !state.held.empty()) {
      push(at + 1, replaced(step, state.held), out);
    } else if (step.kind == Kind::replace_text && !state.held.empty()) {
      push(at + 1, state.held, out);
    }
    state = State{};
  }
}

struct StreamDecoder::State {
  std::shared_ptr<const Tokenizer::Impl> impl;
  bool skip_special;
  DecodeChain chain;
  State(std::shared_ptr<const Tokenizer::Impl> tables, bool skip)
      : impl(std::move(tables)), skip_special(skip), chain(impl->decode_steps) {}
};

StreamDecoder::StreamDecoder(const Tokenizer& tokenizer, bool skip_special)
    : state_(std::make_unique<State>(tokenizer.impl(), skip_special)) {}
StreamDecoder::StreamDecoder(StreamDecoder&&) noexcept = default;
StreamDecoder& StreamDecoder::operator=(StreamDecoder&&) noexcept = default;
StreamDecoder::~StreamDecoder() = default;

std::string StreamDecoder::push(TokenId id) {
  std::string out;
  const Tokenizer::Impl& impl = *state_->impl;
  if (impl.knows(id) && !(state_->skip_special && impl.is_special(id))) state_->chain.push(impl.decoded_text(id), out);
  return out;
}

std::string StreamDecoder::finish() {
  std::string out;
  state_->chain.finish(out);
  return out;
}

std::string Tokenizer::decode(std::span<const TokenId> ids, bool skip_special) const {
  std::string out;
  DecodeChain chain(impl_->decode_steps);
  for (const TokenId id : ids)
    if (impl_->knows(id) && !(skip_special && impl_->is_special(id))) chain.push(impl_->decoded_text(id), out);
  chain.finish(out);
  return out;
}

}  // namespace tap
