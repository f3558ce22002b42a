#include "client/credit_control.h"

#include <algorithm>

#include "proto/base/mutant.h"

namespace mqd::client {
namespace {

std::int64_t Signed(std::uint64_t value) { return static_cast<std::int64_t>(value); }

std::int64_t Bounded(std::int64_t own, std::uint64_t limit) {
  return limit == 0 ? own : std::min(own, Signed(limit));
}

}  // namespace

CreditControl::CreditControl(const Options& options)
    : options_(options),
      messages_max_(options.messages_max),
      bytes_max_(options.bytes_max),
      target_messages_(std::min(options.messages_initial, options.messages_max)),
      target_bytes_(std::min(options.bytes_initial, options.bytes_max)) {}

void CreditControl::NewWindow(Time now) {
  finished_messages_ = finished_bytes_ = 0;
  window_begin_ = now;
}

void CreditControl::OnOpened(std::uint64_t messages_limit, std::uint64_t bytes_limit, Time now) {
  messages_max_ = Bounded(options_.messages_max, messages_limit);
  bytes_max_ = Bounded(options_.bytes_max, bytes_limit);
  target_messages_ = std::min(target_messages_, messages_max_);
  target_bytes_ = std::min(target_bytes_, bytes_max_);
  if (!MQD_MUTANT(credit_of_lost_stream_kept)) granted_messages_ = granted_bytes_ = 0;
  NewWindow(now);
}

void CreditControl::OnDelivered(std::uint64_t messages, std::uint64_t bytes) {
  granted_messages_ -= Signed(messages);
  granted_bytes_ -= Signed(bytes);
  held_messages_ += Signed(messages);
  held_bytes_ += Signed(bytes);
}

void CreditControl::OnDropped(std::uint64_t messages, std::uint64_t bytes) {
  held_messages_ -= Signed(messages);
  held_bytes_ -= Signed(bytes);
}

void CreditControl::OnFinished(std::uint64_t messages, std::uint64_t bytes, Time now) {
  OnDropped(messages, bytes);
  finished_messages_ += Signed(messages);
  finished_bytes_ += Signed(bytes);
  const bool messages_turned = finished_messages_ >= target_messages_;
  const bool bytes_turned = finished_bytes_ >= target_bytes_;
  if (!messages_turned && !bytes_turned) return;
  if (now - window_begin_ < kTurnover) {
    if (messages_turned) target_messages_ = std::min(target_messages_ * 2, messages_max_);
    if (bytes_turned) target_bytes_ = std::min(target_bytes_ * 2, bytes_max_);
  }
  NewWindow(now);
}

void CreditControl::OnStarved() {
  if (granted_messages_ <= 0 && held_messages_ * 2 >= target_messages_) {
    target_messages_ = std::min(target_messages_ * 2, messages_max_);
  }
  if (granted_bytes_ <= 0 && held_bytes_ * 2 >= target_bytes_) {
    target_bytes_ = std::min(target_bytes_ * 2, bytes_max_);
  }
}

void CreditControl::OnLate(Time now) {
  target_messages_ = std::max(target_messages_ / 2, kMessagesMin);
  target_bytes_ = std::max(target_bytes_ / 2, std::min(kBytesMin, bytes_max_));
  NewWindow(now);
}

std::optional<CreditControl::Grant> CreditControl::TakeGrant() {
  const std::int64_t messages =
      std::max<std::int64_t>(target_messages_ - granted_messages_ - held_messages_, 0);
  const std::int64_t bytes =
      std::max<std::int64_t>(target_bytes_ - granted_bytes_ - held_bytes_, 0);
  const bool stalled =
      (granted_messages_ <= 0 && messages > 0) || (granted_bytes_ <= 0 && bytes > 0);
  const bool worth = messages * 4 >= target_messages_ || bytes * 4 >= target_bytes_;
  if (!stalled && !worth) return std::nullopt;
  granted_messages_ += messages;
  granted_bytes_ += bytes;
  return Grant{static_cast<std::uint64_t>(messages), static_cast<std::uint64_t>(bytes)};
}

}  // namespace mqd::client
