#include "client/key_lines.h"

#include <utility>

namespace mqd::client {

std::string KeyLines::NameOf(const DeliveryPiece& piece) {
  const wire::ScannedRun& run = piece.head();
  if (run.fence == 0 || run.messages.size() != 1) return {};
  const std::string_view key = run.messages[0].ordering_key;
  if (key.empty()) return {};
  std::string name(key);
  name.push_back(static_cast<char>(piece.queue_index()));  // 0 to 63
  return name;
}

bool KeyLines::Enter(const std::string& name, const DeliveryPiece& piece) {
  Line& line = lines_[name];
  if (line.out || line.holds > 0) {
    line.waiting.push_back(piece);
    return false;
  }
  line.out = true;
  return true;
}

std::optional<DeliveryPiece> KeyLines::Advance(Line& line) {
  if (line.out || line.holds > 0 || line.waiting.empty()) return std::nullopt;
  DeliveryPiece next = std::move(line.waiting.front());
  line.waiting.pop_front();
  line.out = true;
  return next;
}

std::optional<DeliveryPiece> KeyLines::Leave(const std::string& name) {
  const auto line = lines_.find(name);
  if (line == lines_.end()) return std::nullopt;
  line->second.out = false;
  std::optional<DeliveryPiece> next = Advance(line->second);
  if (line->second.idle()) lines_.erase(line);
  return next;
}

std::optional<DeliveryPiece> KeyLines::Unhold(const std::string& name) {
  const auto line = lines_.find(name);
  if (line == lines_.end() || line->second.holds == 0) return std::nullopt;
  --line->second.holds;
  std::optional<DeliveryPiece> next = Advance(line->second);
  if (line->second.idle()) lines_.erase(line);
  return next;
}

void KeyLines::DropHolds() {
  for (auto& [name, line] : lines_) line.holds = 0;
}

}  // namespace mqd::client
