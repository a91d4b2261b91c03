#include "server/reply.h"

#include <algorithm>
#include <iterator>
#include <utility>

#include "base/strings.h"

namespace tap::server {

AnswerReader::AnswerReader(const ChatRequest& request, const Model& model) : exact_(!request.form.is_null()) {
  if (request.has_tools()) calls_.emplace(tool_format_of(model));
}

std::vector<AnswerReader::Piece> AnswerReader::read(std::string_view text, bool last) {
  std::vector<Piece> pieces;
  if (calls_) {
    pieces = calls_->push(text);
    if (last) std::ranges::move(calls_->finish(), std::back_inserter(pieces));
  } else {
    pieces.push_back({Piece::Kind::text, std::string(text)});
  }
  for (Piece& piece : pieces)
    if (piece.kind == Piece::Kind::text && !exact_) piece.text = shaped(piece.text);
  std::erase_if(pieces, [](const Piece& piece) { return piece.kind == Piece::Kind::text && piece.text.empty(); });
  return pieces;
}

std::string AnswerReader::shaped(std::string_view text) {
  std::string more = std::exchange(unsent_, {}) + std::string(text);
  if (!begun_) more.erase(0, std::min(more.size(), more.find_first_not_of(blanks)));
  const std::size_t end = more.find_last_not_of(blanks) + 1;  // 0: all blank
  unsent_ = more.substr(end);
  more.resize(end);
  begun_ = begun_ || !more.empty();
  return more;
}

}  // namespace tap::server
