// delivery_outbox.cc: step 5 of 5 (delivery). From runs of deliveries to frames.
#include "server/rpc/delivery_outbox.h"

#include <algorithm>
#include <memory>
#include <string>
#include <utility>

#include "mqd/v1/broker.pb.h"
#include "proto/wire/frame_write.h"
#include "server/limits.h"
#include "server/rpc/look_convert.h"

namespace mqd::rpc {
namespace {

/// How many messages of `run` have at most `room` bytes; at least one if `at_least_one`.
std::uint32_t CountWithin(const queue::DeliveryRun& run, std::size_t room, bool at_least_one) {
  if (run.elements().size() <= room) return run.count;
  std::uint32_t fits = 0;
  std::uint32_t too_many = run.count;
  while (too_many - fits > 1) {
    const std::uint32_t middle = fits + (too_many - fits) / 2;
    const bool within =
        run.body->Elements(run.first_index, run.first_index + middle).size() <= room;
    (within ? fits : too_many) = middle;
  }
  return std::max<std::uint32_t>(fits, at_least_one ? 1 : 0);
}

/// Cuts the first `count` messages off `run`.
queue::DeliveryRun CutFront(queue::DeliveryRun& run, std::uint32_t count) {
  queue::DeliveryRun front = run;
  front.count = count;
  run.first_delivery_id += count;
  run.first_sequence += count;
  run.first_index += count;
  run.count -= count;
  return front;
}

/// Whether little of its body is in `run`, so that to share it is to keep much else.
bool IsSmallPart(const queue::DeliveryRun& run) {
  return run.body->encoded().size() / 2 > run.elements().size();
}

void GiveOwnBody(queue::DeliveryRun& run) {
  storage::Body::Builder own;
  own.Reserve(run.elements().size(), run.count);
  for (std::uint32_t i = 0; i < run.count; ++i) own.Append(run.body->Element(run.first_index + i));
  run.body = std::move(own).Finish();
  run.first_index = 0;
}

std::string EncodeHead(const queue::DeliveryRun& run) {
  const std::string origin =
      run.dead_letter ? ToProto(*run.dead_letter).SerializeAsString() : std::string();
  return wire::EncodeRunHead({.first_delivery_id = run.first_delivery_id,
                              .first_sequence = run.first_sequence,
                              .delivery_attempt = run.attempt,
                              .publish_time_ms = run.publish_time_ms,
                              .lease_ms = run.lease_ms,
                              .fence = run.fence,
                              .dead_letter = origin});
}

grpc::Slice OwningSlice(std::string bytes) {
  auto* owner = new std::string(std::move(bytes));
  return grpc::Slice(
      owner->data(), owner->size(), [](void* held) { delete static_cast<std::string*>(held); },
      owner);
}

grpc::Slice SharingSlice(std::string_view elements, std::shared_ptr<const storage::Body> body) {
  using Owner = std::shared_ptr<const storage::Body>;
  return grpc::Slice(
      const_cast<char*>(elements.data()), elements.size(),
      [](void* held) { delete static_cast<Owner*>(held); }, new Owner(std::move(body)));
}

}  // namespace

EncodedRuns EncodeRuns(const std::vector<queue::DeliveryRun>& runs) {
  EncodedRuns out;
  std::string copied;
  for (const queue::DeliveryRun& run : runs) {
    const std::string_view elements = run.elements();
    const std::string head = EncodeHead(run);
    copied += wire::RunPrefix(head.size(), elements.size());
    copied += head;
    if (elements.size() < kZeroCopyBytes || IsSmallPart(run)) {
      copied += elements;
      continue;
    }
    out.bytes += copied.size() + elements.size();
    out.slices.push_back(OwningSlice(std::exchange(copied, {})));
    out.slices.push_back(SharingSlice(elements, run.body));
  }
  out.bytes += copied.size();
  if (!copied.empty()) out.slices.push_back(OwningSlice(std::move(copied)));
  return out;
}

grpc::ByteBuffer EncodeDeliveries(const TakenDeliveries& taken) {
  EncodedRuns runs = EncodeRuns(taken.runs);
  std::string head =
      wire::DeliveriesHead(taken.slot, taken.charged_messages, taken.charged_bytes, runs.bytes);
  runs.slices.insert(runs.slices.begin(), OwningSlice(std::move(head)));
  return grpc::ByteBuffer(runs.slices.data(), runs.slices.size());
}

void DeliveryOutbox::Add(std::uint32_t slot, queue::DeliveryBatch batch) {
  for (const queue::DeliveryRun& run : batch.runs) bytes_ += run.elements().size();
  items_.emplace_back(Pending{slot, 0, std::move(batch)});
  if (bytes_ > kSharedWaitBytes) LetGoOfSharedBodies();
}

void DeliveryOutbox::LetGoOfSharedBodies() {
  for (auto item = items_.rbegin(); item != items_.rend(); ++item) {
    auto* pending = std::get_if<Pending>(&*item);
    if (pending == nullptr) continue;
    if (std::exchange(pending->own_bodies, true)) return;  // and so have all before it
    std::vector<queue::DeliveryRun>& runs = pending->batch.runs;
    for (std::size_t i = pending->next; i < runs.size(); ++i) {
      if (IsSmallPart(runs[i])) GiveOwnBody(runs[i]);
    }
  }
}

void DeliveryOutbox::Add(Frame frame) { items_.emplace_back(std::move(frame)); }

bool DeliveryOutbox::TakeRuns(Pending& from, TakenDeliveries& taken) {
  std::vector<queue::DeliveryRun>& runs = from.batch.runs;
  std::uint64_t messages = 0;
  std::uint64_t elements = 0;
  while (from.next < runs.size()) {
    queue::DeliveryRun& run = runs[from.next];
    const std::size_t used =
        std::min<std::size_t>(taken.elements_bytes + elements, limits::kDeliveriesFrameBytes);
    const bool first = taken.runs.empty();
    const std::uint32_t count = CountWithin(run, limits::kDeliveriesFrameBytes - used, first);
    if (count == 0) break;
    const bool whole = count == run.count;
    taken.runs.push_back(whole ? std::move(run) : CutFront(run, count));
    messages += count;
    elements += taken.runs.back().elements().size();
    if (!whole) break;
    ++from.next;
  }
  const bool all = from.next == runs.size();
  // A batch is charged as a whole; parts of it share that by their size, and the last one takes the
  // rest.
  const std::uint64_t charge =
      all ? from.batch.charged_bytes : std::min(elements, from.batch.charged_bytes);
  const std::uint64_t charged = all ? from.batch.charged_messages : messages;
  from.batch.charged_messages -= charged;
  from.batch.charged_bytes -= charge;
  taken.charged_messages += charged;
  taken.charged_bytes += charge;
  taken.elements_bytes += elements;
  return all;
}

std::optional<DeliveryOutbox::Taken> DeliveryOutbox::Take() {
  if (items_.empty()) return std::nullopt;
  if (auto* frame = std::get_if<Frame>(&items_.front())) {
    Taken taken(std::move(*frame));
    items_.pop_front();
    return taken;
  }
  TakenDeliveries taken;
  taken.slot = std::get<Pending>(items_.front()).slot;
  while (!items_.empty()) {
    auto* pending = std::get_if<Pending>(&items_.front());
    if (pending == nullptr || pending->slot != taken.slot) break;
    if (!TakeRuns(*pending, taken)) break;
    items_.pop_front();
  }
  bytes_ -= taken.elements_bytes;
  return taken;
}

void DeliveryOutbox::DropDeliveries() {
  std::erase_if(items_, [](const auto& item) { return std::holds_alternative<Pending>(item); });
  bytes_ = 0;
}

}  // namespace mqd::rpc
