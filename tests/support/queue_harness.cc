#include "tests/support/queue_harness.h"

#include <algorithm>
#include <functional>

#include "proto/base/assert.h"
#include "storage/record_codec.h"

namespace mqd::queue::testing {
namespace {

constexpr storage::ShardId kShard{0};
constexpr char kField15 = '\x7a';  // number 15, length-delimited: of a frame and of a Message

/// One field in the Protocol Buffers wire format.
std::string Field(std::string_view value) {
  std::string field(1, kField15);
  std::size_t length = value.size();
  for (; length >= 0x80; length >>= 7) field.push_back(static_cast<char>(0x80 | (length & 0x7f)));
  field.push_back(static_cast<char>(length));
  return field.append(value);
}

const char* StatusName(MessageStatus status) {
  constexpr const char* kNames[] = {"", "READY", "IN_FLIGHT", "DELAYED", "PARKED", "SETTLED"};
  return kNames[static_cast<std::size_t>(status)];
}

SpecialFields ViewOf(const Extras& extras) {
  return {.ordering_key = extras.ordering_key,
          .priority = extras.priority,
          .delay_ms = extras.delay_ms,
          .deliver_at_ms = extras.deliver_at_ms,
          .ttl_ms = extras.ttl_ms,
          .deliver_after = extras.deliver_after,
          .fault = extras.fault};
}

/// What the views of a batch point into.
struct Owned {
  std::vector<std::string> elements;
  std::vector<std::string> keys;
  std::vector<Extras> extras;
};

}  // namespace

std::string NameOf(const std::variant<Duplicate, Dropped, ErrorInfo>& result) {
  if (const auto* duplicate = std::get_if<Duplicate>(&result)) {
    return "duplicate of " + std::to_string(duplicate->sequence) + " " +
           StatusName(duplicate->status);
  }
  if (const auto* dropped = std::get_if<Dropped>(&result)) {
    constexpr const char* kNames[] = {
        "", "REJECT", "BLOCK", "DROP_OLDEST", "DROP_NEWEST", "DEAD_LETTER", "THROTTLE"};
    return std::string("dropped ") + kNames[static_cast<std::size_t>(dropped->policy)];
  }
  return ToString(std::get<ErrorInfo>(result).reason);
}

std::vector<std::string> Names(const std::vector<Seen>& seen) {
  std::vector<std::string> names;
  for (const Seen& one : seen) {
    names.push_back(one.consumer + "<-" + one.payload + "#" + std::to_string(one.attempt));
  }
  return names;
}

std::vector<std::string> Payloads(const std::vector<Seen>& seen) {
  std::vector<std::string> payloads;
  for (const Seen& one : seen) payloads.push_back(one.payload);
  return payloads;
}

bool Extras::plain() const {
  return ordering_key.empty() && priority == 0 && delay_ms == 0 && deliver_at_ms == 0 &&
         ttl_ms == 0 && deliver_after.empty() && fault == nullptr;
}

// ---- the queue

QueueHarness::QueueHarness(QueueSettings settings, Place place)
    : disk_(place.disk != nullptr ? std::move(place.disk) : std::make_shared<TestDisk>()),
      id_(place.id),
      name_(std::move(place.name)) {
  Create(settings, 1);
}

void QueueHarness::Create(const QueueSettings& settings, Sequence first_sequence) {
  storage::Batch batch;
  batch.PutQueue({.id = id_,
                  .name = name_,
                  .settings = EncodeSettings(settings),
                  .sequence_limit = first_sequence});
  disk_->Apply(batch);
  deleted_ = false;
  Recover();
}

void QueueHarness::LoadBodies() {
  for (const PeekedMessage& message : PeekAll(MessageStatus::kUnspecified)) {
    if (message.body == nullptr) Load(message.chunk);
  }
}

void QueueHarness::Restart() {
  disk_->DropWaiting();
  Recover();
}

void QueueHarness::Recover() {
  core_ = std::make_unique<QueueCore>(ReadBack(), FirstDelivery(epoch_++), around_.now);
  Step(Tick{});
}

void QueueHarness::Rebuild() {
  disk_->DropWaiting();
  Reread();
}

void QueueHarness::Reread() {
  core_ = std::make_unique<QueueCore>(ReadBack(), *core_, around_.now);
  Step(Tick{});
}

RecoveredQueue QueueHarness::ReadBack() {
  sends_.clear();
  next_publish_id_.clear();
  rebuild_ = false;
  auto record = FindQueueRecord(*disk_, kShard, id_);
  MQD_ASSERT(record.ok());
  first_sequence_ = record->sequence_limit;
  auto recovered = RecoverQueue(*disk_, kShard, *std::move(record));
  MQD_ASSERT(recovered.ok());
  return *std::move(recovered);
}

std::uint64_t QueueHarness::NewId(const std::string& name) {
  const std::uint64_t id = names_.size() + 1;
  names_[id] = name;
  return ids_[name] = id;
}

void QueueHarness::Step(Event event) {
  std::vector<Event> events;
  events.push_back(std::move(event));
  Turn(std::move(events));
}

void QueueHarness::Turn(std::vector<Event> events) {
  Effects effects;
  for (Event& event : events) core_->Step(std::move(event), around_, effects);
  core_->EndTurn(around_, effects);
  Perform(std::move(effects));
}

void QueueHarness::Perform(Effects effects) {
  for (CommitRequest& commit : effects.commits) {
    last_sync_ = commit.sync;
    Trace(commit.batch.bytes());
    for (const storage::Op& op : commit.batch.ops()) Trace(std::hash<std::string>{}(op.key));
    disk_->Append(*this, std::move(commit));
  }
  for (Effect& effect : effects.sends) {
    Trace(effect);
    sends_.push_back(std::move(effect));
  }
  deleted_ = deleted_ || effects.deleted;
  rebuild_ = rebuild_ || effects.rebuild;
  for (const ChunkKey& chunk : effects.loads) {
    ++loads_;
    if (reads_bodies_) Load(chunk);
  }
}

void QueueHarness::Load(const ChunkKey& chunk) {
  std::shared_ptr<const storage::Body> read;
  disk_->ReadBody(kShard, id_, chunk, [&](auto body) {
    if (body.ok()) read = *std::move(body);
  });
  Step(BodyLoaded{chunk, std::move(read)});
}

void QueueHarness::Trace(std::uint64_t number) {
  trace_ = (trace_ ^ number) * 0x9E3779B97F4A7C15ull;
  trace_ ^= trace_ >> 32;
}

void QueueHarness::Trace(const Effect& effect) {
  Trace(effect.index());
  if (const auto* send = std::get_if<SendDeliveries>(&effect)) {
    Trace(send->consumer);
    for (const DeliveryRun& run : send->batch.runs) {
      Trace(run.first_delivery_id);
      Trace(run.first_sequence * 4'096 + run.count);
    }
  } else if (const auto* confirms = std::get_if<SendConfirms>(&effect)) {
    Trace(confirms->publisher);
    Trace(confirms->confirms.messages);
    for (const ConfirmedRange& range : confirms->confirms.ranges) Trace(range.first_sequence);
    for (const PublishException& one : confirms->confirms.exceptions) {
      Trace(one.publish_id * 4 + one.result.index());
    }
  } else if (const auto* want = std::get_if<WantCredit>(&effect)) {
    Trace(want->consumer);
  } else if (const auto* back = std::get_if<CreditReturned>(&effect)) {
    Trace(back->consumer * 2 + (back->more ? 1 : 0));
    Trace(back->messages);
  } else if (const auto* end = std::get_if<SendEndOfQueue>(&effect)) {
    Trace(end->consumer);
  } else {
    TraceRare(effect);
  }
}

void QueueHarness::TraceRare(const Effect& effect) {
  const auto trace_ranges = [this](const std::vector<DeliveryRange>& ranges) {
    for (const DeliveryRange& range : ranges) Trace(range.first * 31 + range.last);
  };
  if (const auto* lost = std::get_if<SendLeaseLost>(&effect)) {
    Trace(lost->consumer);
    trace_ranges(lost->ranges);
  } else if (const auto* recall = std::get_if<SendRecall>(&effect)) {
    Trace(recall->consumer);
    trace_ranges(recall->ranges);
  } else if (const auto* blocked = std::get_if<SendBlocked>(&effect)) {
    Trace(blocked->publisher);
    Trace(blocked->first_publish_id);
  } else if (const auto* gone = std::get_if<ConsumerGone>(&effect)) {
    Trace(gone->consumer);
  } else if (const auto* left = std::get_if<PublisherGone>(&effect)) {
    Trace(left->publisher);
  } else if (const auto* divert = std::get_if<DivertToDeadLetter>(&effect)) {
    Trace(divert->divert);
  } else if (const auto* move = std::get_if<MoveToDeadLetter>(&effect)) {
    for (const MoveToDeadLetter::Item& item : move->items) Trace(item.sequence);
  } else if (const auto* ask = std::get_if<AskRef>(&effect)) {
    Trace(ask->ref.queue * 31 + ask->ref.sequence);
  } else if (const auto* tell = std::get_if<TellRef>(&effect)) {
    Trace(tell->watcher * 31 + tell->answer.ref.sequence);
    Trace(static_cast<std::uint64_t>(tell->answer.state));
  } else if (const auto* done = std::get_if<RequestDone>(&effect)) {
    Trace(done->request * 31 + done->result.index());
    const auto* why = std::get_if<std::vector<Explanation>>(&done->result);
    if (why == nullptr) return;
    for (const Explanation& one : *why) Trace(static_cast<std::uint64_t>(one.cause));
  }
}

// ---- what happens

void QueueHarness::AttachPublisher(const std::string& publisher,
                                   std::optional<ProducerId> producer) {
  AttachPublisher(publisher, PublisherOptions{.producer = producer});
}

void QueueHarness::AttachPublisher(const std::string& publisher, PublisherOptions options) {
  Step(queue::AttachPublisher{
      .publisher = NewId(publisher),
      .producer = options.producer,
      .client_name = options.client_name.empty() ? publisher : options.client_name,
      .take_over = options.take_over});
}

void QueueHarness::DetachPublisher(const std::string& publisher) {
  if (!ids_.contains(publisher)) return;
  Step(queue::DetachPublisher{PublisherIdOf(publisher)});
}

void QueueHarness::AttachConsumer(const std::string& consumer, ConsumerOptions options) {
  Step(queue::AttachConsumer{
      .consumer = NewId(consumer),
      .marks_started = options.marks_started,
      .on_demand = options.on_demand,
      .lease_ns = options.lease_ms * kNsPerMs,
      .client_name = options.client_name.empty() ? consumer : options.client_name,
      .take_over = options.take_over,
      .in_flight_per_key = options.in_flight_per_key});
  if (options.messages > 0) Grant(consumer, options.messages, options.bytes);
}

void QueueHarness::DetachConsumer(const std::string& consumer, bool keep_deliveries) {
  Step(queue::DetachConsumer{ConsumerIdOf(consumer), keep_deliveries});
}

void QueueHarness::Grant(const std::string& consumer, std::uint64_t messages, std::uint64_t bytes) {
  Step(GrantCredit{ConsumerIdOf(consumer), messages, bytes});
}

PublishBatch QueueHarness::BatchOf(const std::vector<std::string>& payloads,
                                   const std::vector<std::string>& keys,
                                   const std::vector<Extras>& extras) const {
  auto owner = std::make_shared<Owned>(Owned{{}, keys, extras});
  for (const std::string& payload : payloads) owner->elements.push_back(Field(Field(payload)));
  PublishBatch batch;
  for (std::size_t i = 0; i < payloads.size(); ++i) {
    IncomingMessage message{
        .element = owner->elements[i],
        .charge_bytes = static_cast<std::uint32_t>(payloads[i].size()) + kOverheadBytes};
    if (i < keys.size() && !keys[i].empty()) {
      message.idempotency_key = owner->keys[i];
      message.key_hash = {1, std::hash<std::string>{}(keys[i])};
      message.digest = std::hash<std::string>{}(payloads[i]);
    }
    if (!extras.empty()) {
      const Extras& own = owner->extras[extras.size() == 1 ? 0 : i];
      if (!own.plain()) {
        batch.specials.push_back(ViewOf(own));
        message.special = static_cast<std::uint32_t>(batch.specials.size());
      }
    }
    batch.messages.push_back(message);
  }
  batch.owner = owner;
  return batch;
}

void QueueHarness::Publish(const std::string& publisher, const std::vector<std::string>& payloads,
                           PublishOptions options) {
  std::uint64_t& next = next_publish_id_.try_emplace(publisher, 1).first->second;
  PublishBatch batch = BatchOf(payloads, options.keys, options.extras);
  batch.level = options.level;
  batch.publisher = PublisherIdOf(publisher);
  batch.first_publish_id = options.first_id != 0 ? options.first_id : next;
  batch.answered_through = options.answered_through;
  if (options.wait_ms >= 0) batch.deadline_ns = around_.now.steady_ns + options.wait_ms * kNsPerMs;
  next = batch.first_publish_id + payloads.size();
  Step(std::move(batch));
}

RequestId QueueHarness::AskSettle(std::vector<SettleEntry> entries) {
  const RequestId request = next_request_++;
  struct Settle settle {
    .request = request
  };
  settle.entries = std::move(entries);
  Step(std::move(settle));
  return request;
}

SettleResult QueueHarness::Settle(DeliveryRange range, SettleOutcome outcome) {
  AskSettle({{range, std::move(outcome)}});
  CommitAll();
  return TakeAnswer<SettleResult>();
}

void QueueHarness::Advance(std::int64_t ms) {
  PassTime(ms);
  Step(Tick{});
}

std::vector<Explanation> QueueHarness::Why(ExplainSubject subject) {
  Take<RequestDone>();
  Step(Explain{next_request_++, std::move(subject)});
  return TakeAnswer<std::vector<Explanation>>();
}

void QueueHarness::JumpWall(std::int64_t ms) {
  around_.now.wall_ms += ms;
  Step(Tick{});
}

// ---- two queues

bool QueueHarness::RunTransaction(QueueHarness& target, PrepareTransaction prepare,
                                  CommitTransaction commit) {
  const TransactionId id = prepare.transaction = commit.transaction = next_transaction_++;
  target.Step(std::move(prepare));
  TransactionPrepared prepared = std::move(target.Take<TransactionPrepared>().at(0));
  if (!prepared.accepted) return false;
  commit.parts = std::move(prepared.part);
  commit.flush = prepared.flush;
  Step(std::move(commit));
  CommitAll();
  const bool committed = Take<TransactionDone>().at(0).committed;
  target.Step(EndTransaction{id, committed});
  return committed;
}

std::size_t QueueHarness::MoveTo(QueueHarness& target) {
  std::size_t taken = 0;
  for (MoveToDeadLetter& move : Take<MoveToDeadLetter>()) {
    for (MoveToDeadLetter::Item& item : move.items) {
      PublishBatch batch{.owner = item.body};
      batch.messages.push_back(
          {.element = item.body->Element(item.index), .charge_bytes = item.charge_bytes});
      if (RunTransaction(target, {0, std::move(batch), true, {item.origin}},
                         {.leaving = {item.sequence}})) {
        ++taken;
        continue;
      }
      Step(MoveFailed{item.sequence});
    }
  }
  for (DivertToDeadLetter& divert : Take<DivertToDeadLetter>()) {
    PublishBatch batch{.owner = divert.owner};
    batch.messages.push_back({.element = divert.element, .charge_bytes = divert.charge_bytes});
    if (RunTransaction(target, {0, std::move(batch), true, {divert.origin}},
                       {.diverted = {divert.divert}})) {
      ++taken;
      continue;
    }
    Step(DivertFailed{divert.divert, {.reason = Reason::kQueueFull}});
  }
  return taken;
}

void QueueHarness::ExchangeRefs(const std::vector<QueueHarness*>& queues) {
  const auto find = [&](QueueId id) -> QueueHarness* {
    const auto found = std::find_if(queues.begin(), queues.end(),
                                    [id](const QueueHarness* one) { return one->id() == id; });
    return found == queues.end() ? nullptr : *found;
  };
  for (bool moved = true; moved;) {
    moved = false;
    for (QueueHarness* queue : queues) {
      for (const AskRef& ask : queue->Take<AskRef>()) {
        moved = true;
        QueueHarness* asked = find(ask.ref.queue);
        if (asked == nullptr) {
          queue->Step(RefAnswer{ask.ref, RefState::kSettled});
        } else {
          asked->Step(WatchMessage{queue->id(), ask.ref.sequence});
        }
      }
      for (const TellRef& tell : queue->Take<TellRef>()) {
        moved = true;
        if (QueueHarness* watcher = find(tell.watcher)) watcher->Step(tell.answer);
      }
    }
  }
}

// ---- what came out

std::vector<Seen> QueueHarness::TakeDeliveries() {
  std::vector<Seen> seen;
  for (const SendDeliveries& send : Take<SendDeliveries>()) {
    for (const DeliveryRun& run : send.batch.runs) {
      for (std::uint32_t i = 0; i < run.count; ++i) {
        seen.push_back({names_.at(send.consumer), run.first_delivery_id + i, run.first_sequence + i,
                        run.attempt, PayloadOf(run.body->Element(run.first_index + i)),
                        run.dead_letter, run.fence, run.lease_ms, send.consumer, i == 0});
      }
    }
  }
  std::sort(seen.begin(), seen.end(), [](const Seen& a, const Seen& b) { return a.id < b.id; });
  return seen;
}

std::vector<std::string> QueueHarness::TakeResults() {
  std::multimap<std::uint64_t, std::string> results;
  for (const SendConfirms& send : Take<SendConfirms>()) {
    for (const ConfirmedRange& range : send.confirms.ranges) {
      for (std::uint64_t i = 0; i < range.count; ++i) {
        results.emplace(range.first_publish_id + i,
                        "stored as " + std::to_string(range.first_sequence + i));
      }
    }
    for (const PublishException& one : send.confirms.exceptions) {
      results.emplace(one.publish_id, testing::NameOf(one.result));
    }
  }
  std::vector<std::string> named;
  for (const auto& [id, result] : results) named.push_back(std::to_string(id) + " " + result);
  return named;
}

std::map<std::uint64_t, ErrorInfo> QueueHarness::TakeErrors() {
  std::map<std::uint64_t, ErrorInfo> errors;
  for (const SendConfirms& send : Take<SendConfirms>()) {
    for (const PublishException& one : send.confirms.exceptions) {
      if (const auto* error = std::get_if<ErrorInfo>(&one.result)) errors[one.publish_id] = *error;
    }
  }
  return errors;
}

std::vector<PeekedMessage> QueueHarness::PeekAll(MessageStatus status) {
  Step(Peek{.request = next_request_++, .status = status, .limit = 1'000});
  return TakeAnswer<std::vector<PeekedMessage>>();
}

}  // namespace mqd::queue::testing
