// confirm_buffer.cc: step 5 of 5 (delivery). Results of publishes, merged.
#include "server/rpc/confirm_buffer.h"

#include <iterator>
#include <utility>

#include "server/rpc/status_map.h"

namespace mqd::rpc {

void SetResult(const queue::Duplicate& duplicate, v1::Duplicate& out) {
  out.set_sequence(duplicate.sequence);
  out.set_status(static_cast<v1::MessageStatus>(duplicate.status));
}

void ConfirmBuffer::Add(queue::Confirms confirms) {
  if (confirms_.empty()) {
    confirms_ = std::move(confirms);
    return;
  }
  for (const queue::ConfirmedRange& range : confirms.ranges) {
    queue::ConfirmedRange* last = confirms_.ranges.empty() ? nullptr : &confirms_.ranges.back();
    if (last != nullptr && last->first_publish_id + last->count == range.first_publish_id &&
        last->first_sequence + last->count == range.first_sequence) {
      last->count += range.count;
    } else {
      confirms_.ranges.push_back(range);
    }
  }
  confirms_.exceptions.insert(confirms_.exceptions.end(),
                              std::make_move_iterator(confirms.exceptions.begin()),
                              std::make_move_iterator(confirms.exceptions.end()));
}

queue::Confirms ConfirmBuffer::Take() { return std::exchange(confirms_, {}); }

void ToProto(const queue::Confirms& confirms, v1::Confirms& out) {
  for (const queue::ConfirmedRange& range : confirms.ranges) {
    v1::ConfirmedRange& to = *out.add_ranges();
    to.set_first_publish_id(range.first_publish_id);
    to.set_count(range.count);
    to.set_first_sequence(range.first_sequence);
  }
  for (const queue::PublishException& exception : confirms.exceptions) {
    v1::PublishException& to = *out.add_exceptions();
    to.set_publish_id(exception.publish_id);
    if (const auto* duplicate = std::get_if<queue::Duplicate>(&exception.result)) {
      SetResult(*duplicate, *to.mutable_duplicate());
    } else if (const auto* dropped = std::get_if<queue::Dropped>(&exception.result)) {
      to.mutable_dropped()->set_policy(static_cast<v1::OverflowPolicy>(dropped->policy));
    } else {
      *to.mutable_error() = ToProto(std::get<queue::ErrorInfo>(exception.result));
    }
  }
}

std::uint64_t CountOf(const queue::Confirms& confirms) {
  std::uint64_t count = confirms.exceptions.size();
  for (const queue::ConfirmedRange& range : confirms.ranges) count += range.count;
  return count;
}

}  // namespace mqd::rpc
