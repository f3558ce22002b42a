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
    pieces_.push_back({.frame = frame,
                       .run = run,
                       .begin = 0,
                       .end = count,
                       .lease_until = frame->arrived + std::chrono::milliseconds(head.lease_ms)});
    messages_ += count;
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

DeliveryBuffer::Dropped DeliveryBuffer::Drop(std::uint32_t queue_index, IdRange range) {
  Dropped dropped;
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
    DeliveryPiece before = piece;
    before.end = cut_begin;
    if (before.begin < before.end) kept.push_back(std::move(before));
    piece.begin = cut_end;
    if (piece.begin < piece.end) kept.push_back(std::move(piece));
  }
  pieces_ = std::move(kept);
  messages_ -= dropped.messages;
  return dropped;
}

DeliveryBuffer::Dropped DeliveryBuffer::Clear() {
  Dropped dropped;
  for (const DeliveryPiece& piece : pieces_) {
    dropped.messages += piece.count();
    dropped.bytes += piece.bytes();
    if (piece.leaseless()) dropped.leaseless += piece.count();
  }
  pieces_.clear();
  messages_ = 0;
  return dropped;
}

DeliveryBuffer::Dropped DeliveryBuffer::ClearLeased() {
  Dropped dropped;
  std::deque<DeliveryPiece> kept;
  for (DeliveryPiece& piece : pieces_) {
    if (piece.leaseless()) {
      kept.push_back(std::move(piece));
      continue;
    }
    dropped.messages += piece.count();
    dropped.bytes += piece.bytes();
  }
  pieces_ = std::move(kept);
  messages_ -= dropped.messages;
  return dropped;
}

std::vector<DeliveryBuffer::Extension> DeliveryBuffer::ExtendDue(Time now) {
  std::vector<Extension> due;
  for (DeliveryPiece& piece : pieces_) {
    if (piece.leaseless() || piece.lease_until - now >= piece.lease() / 2) continue;
    piece.lease_until = now + piece.lease();
    due.push_back({piece.queue_index(), {piece.id(piece.begin), piece.id(piece.end - 1)}});
  }
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
