#include "client/delivery_buffer.h"

#include <algorithm>

namespace mqd::client {

void DeliveryFrame::SplitCharge() {
  std::uint64_t count = 0;
  for (const wire::ScannedRun& run : scanned.runs) count += run.messages.size();
  if (count == 0) return;
  bytes_each = scanned.charged_bytes / count;
  bytes_rest = scanned.charged_bytes % count;
}

std::uint64_t DeliveryPiece::bytes(std::uint32_t from, std::uint32_t to) const {
  if (from >= to) return 0;
  const std::uint64_t rest = run == 0 && from == 0 ? frame->bytes_rest : 0;
  return frame->bytes_each * (to - from) + rest;
}

void DeliveryBuffer::Push(const std::shared_ptr<const DeliveryFrame>& frame) {
  for (std::uint32_t run = 0; run < frame->scanned.runs.size(); ++run) {
    const wire::ScannedRun& head = frame->scanned.runs[run];
    if (head.messages.empty()) continue;
    const auto count = static_cast<std::uint32_t>(head.messages.size());
    messages_ += count;
    DeliveryPiece piece{.frame = frame,
                        .run = run,
                        .begin = 0,
                        .end = count,
                        .lease_until = frame->arrived + std::chrono::milliseconds(head.lease_ms)};
    const std::string line = KeyLines::NameOf(piece);
    if (line.empty() || lines_.Enter(line, piece)) pieces_.push_back(std::move(piece));
  }
}

std::optional<DeliveryPiece> DeliveryBuffer::Take(std::uint32_t max) {
  if (pieces_.empty()) return std::nullopt;
  DeliveryPiece& front = pieces_.front();
  DeliveryPiece taken = front;
  taken.end = front.begin + std::min(max, front.end - front.begin);
  front.begin = taken.end;
  if (front.begin == front.end) pieces_.pop_front();
  messages_ -= taken.count();
  return taken;
}

void DeliveryBuffer::PutBack(DeliveryPiece piece) {
  if (piece.begin == piece.end) return;
  messages_ += piece.count();
  pieces_.push_front(std::move(piece));
}

DeliveryBuffer::Dropped DeliveryBuffer::Drop(std::uint32_t queue_index, std::vector<IdRange> ranges,
                                             Then then) {
  std::sort(ranges.begin(), ranges.end(),
            [](const IdRange& a, const IdRange& b) { return a.first < b.first; });
  Dropped dropped;
  std::vector<std::string> waited = DropFromLines(queue_index, ranges, dropped);
  std::vector<std::string> out;
  for (const IdRange& range : ranges) Cut(queue_index, range, dropped, out);
  messages_ -= dropped.messages;
  if (then == Then::kHold) {
    dropped.held = std::move(waited);
    dropped.held.insert(dropped.held.end(), out.begin(), out.end());
    for (const std::string& line : dropped.held) lines_.Hold(line);
  }
  for (const std::string& line : out) Leave(line);
  return dropped;
}

void DeliveryBuffer::Cut(std::uint32_t queue_index, IdRange range, Dropped& dropped,
                         std::vector<std::string>& lines) {
  std::deque<DeliveryPiece> kept;
  for (DeliveryPiece& piece : pieces_) {
    const bool apart = piece.queue_index() != queue_index || range.last < piece.id(piece.begin) ||
                       range.first > piece.id(piece.end - 1);
    if (apart) {
      kept.push_back(std::move(piece));
      continue;
    }
    const std::uint64_t base = piece.head().first_delivery_id;
    const auto cut_begin =
        static_cast<std::uint32_t>(std::max(range.first, piece.id(piece.begin)) - base);
    const auto cut_end =
        static_cast<std::uint32_t>(std::min(range.last, piece.id(piece.end - 1)) - base + 1);
    dropped.messages += cut_end - cut_begin;
    dropped.bytes += piece.bytes(cut_begin, cut_end);
    dropped.ranges.push_back({piece.id(cut_begin), piece.id(cut_end - 1)});
    if (std::string line = KeyLines::NameOf(piece); !line.empty()) lines.push_back(std::move(line));
    DeliveryPiece before = piece;
    before.end = cut_begin;
    if (before.begin < before.end) kept.push_back(std::move(before));
    piece.begin = cut_end;
    if (piece.begin < piece.end) kept.push_back(std::move(piece));
  }
  pieces_ = std::move(kept);
}

std::vector<std::string> DeliveryBuffer::DropFromLines(std::uint32_t queue_index,
                                                       const std::vector<IdRange>& ranges,
                                                       Dropped& dropped) {
  std::vector<std::string> lines;
  lines_.DropIf([&](const DeliveryPiece& piece) {
    if (piece.queue_index() != queue_index) return false;
    const std::uint64_t id = piece.id(piece.begin);
    auto range = std::upper_bound(ranges.begin(), ranges.end(), id,
                                  [](std::uint64_t a, const IdRange& b) { return a < b.first; });
    if (range == ranges.begin() || id > std::prev(range)->last) return false;
    dropped.messages += 1;
    dropped.bytes += piece.bytes();
    dropped.ranges.push_back({id, id});
    lines.push_back(KeyLines::NameOf(piece));
    return true;
  });
  return lines;
}

template <class F>
DeliveryBuffer::Dropped DeliveryBuffer::ClearIf(F unwanted) {
  Dropped dropped;
  const auto drop = [&](const DeliveryPiece& piece) {
    if (!unwanted(piece)) return false;
    dropped.messages += piece.count();
    dropped.bytes += piece.bytes();
    if (piece.leaseless()) dropped.leaseless += piece.count();
    return true;
  };
  lines_.DropIf(drop);
  lines_.DropHolds();
  std::deque<DeliveryPiece> kept;
  std::vector<std::string> left;
  for (DeliveryPiece& piece : pieces_) {
    if (!drop(piece)) {
      kept.push_back(std::move(piece));
    } else if (std::string line = KeyLines::NameOf(piece); !line.empty()) {
      left.push_back(std::move(line));
    }
  }
  pieces_ = std::move(kept);
  messages_ -= dropped.messages;
  for (const std::string& line : left) Leave(line);
  lines_.Settle([this](DeliveryPiece piece) { pieces_.push_back(std::move(piece)); });
  return dropped;
}

DeliveryBuffer::Dropped DeliveryBuffer::Clear() {
  return ClearIf([](const DeliveryPiece&) { return true; });
}

DeliveryBuffer::Dropped DeliveryBuffer::ClearLeased() {
  return ClearIf([](const DeliveryPiece& piece) { return !piece.leaseless(); });
}

bool DeliveryBuffer::TakeOut(std::optional<DeliveryPiece> next) {
  if (!next) return false;
  pieces_.push_back(*std::move(next));
  return true;
}

bool DeliveryBuffer::Leave(const std::string& line) { return TakeOut(lines_.Leave(line)); }

bool DeliveryBuffer::Unhold(const std::string& line) { return TakeOut(lines_.Unhold(line)); }

std::vector<DeliveryBuffer::Extension> DeliveryBuffer::ExtendDue(Time now) {
  std::vector<Extension> due;
  const auto extend = [&](DeliveryPiece& piece) {
    if (piece.leaseless() || piece.lease_until - now >= piece.lease() / 2) return;
    piece.lease_until = now + piece.lease();
    due.push_back({piece.queue_index(), {piece.id(piece.begin), piece.id(piece.end - 1)}});
  };
  for (DeliveryPiece& piece : pieces_) extend(piece);
  lines_.ForEach(extend);
  return due;
}

bool DeliveryBuffer::Late(Time now, double lease_share) const {
  if (pieces_.empty()) return false;
  const DeliveryPiece& oldest = pieces_.front();
  if (oldest.leaseless()) return false;
  const std::chrono::duration<double> waited = now - oldest.frame->arrived;
  return waited > std::chrono::duration<double>(oldest.lease()) * lease_share;
}

}  // namespace mqd::client
