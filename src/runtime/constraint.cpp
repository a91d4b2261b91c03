#include "runtime/constraint.h"

#include <algorithm>

#include "text/tokenizer_unicode.h"

namespace tap {

Constraint::Constraint(const GrammarPtr& grammar, const Tokenizer& tokenizer, std::vector<TokenId> end_tokens,
                       std::shared_ptr<const TokenTrie> trie)
    : tokenizer_(tokenizer),
      end_tokens_(std::move(end_tokens)),
      trie_(trie ? std::move(trie) : std::make_shared<const TokenTrie>(tokenizer, end_tokens_)),
      masks_(grammar, trie_) {
  space_before_ = !GrammarState(masks_.grammar()).advance(" ");
}

TokenConstraint::TokenConstraint(std::shared_ptr<const Constraint> constraint)
    : constraint_(std::move(constraint)),
      state_(constraint_->masks().grammar()),
      mask_(constraint_->masks().trie().words()) {}

std::span<const std::uint64_t> TokenConstraint::allowed(bool ignore_end) {
  constraint_->masks().fill(state_, mask_);
  if (waiting_ && !spaced_ && constraint_->space_before()) constraint_->masks().add_after_byte(state_, ' ', mask_);
  if (state_.can_end() && !ignore_end)
    for (const TokenId id : constraint_->end_tokens())
      if (static_cast<std::size_t>(id) / 64 < mask_.size())
        mask_[static_cast<std::size_t>(id) / 64] |= std::uint64_t{1} << (static_cast<unsigned>(id) % 64);
  if (std::ranges::all_of(mask_, [](std::uint64_t word) { return word == 0; }))
    fail(ErrorCode::internal, "no token may follow under the constraint");
  return mask_;
}

std::string TokenConstraint::accept(TokenId id) {
  std::string bytes = constraint_->tokenizer().bytes_of(id);
  if (waiting_ && !spaced_ && constraint_->space_before() && bytes.starts_with(' ')) {
    spaced_ = true;
    bytes.erase(0, 1);
  }
  if (bytes.empty()) return {};
  waiting_ = false;
  if (!state_.advance(bytes)) fail(ErrorCode::internal, "token {} is not allowed by the constraint", id);
  held_ += bytes;
  std::size_t whole = 0;
  while (whole < held_.size()) {
    const uni::Part part = uni::next_part(held_, whole);
    if (!part.valid) break;
    whole += part.length;
  }
  std::string text = held_.substr(0, whole);
  held_.erase(0, whole);
  return text;
}

bool TokenConstraint::must_end() const { return state_.can_end() && !state_.can_go_on(); }

}  // namespace tap
