#include "tests/support/queue_harness.h"

#include <algorithm>
#include <functional>

#include "proto/base/assert.h"
#include "storage/record_codec.h"

namespace mqd::queue::testing {
namespace {

using storage::OpKind;
using storage::Table;

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

std::string_view ValueOf(std::string_view field) {
  MQD_ASSERT(!field.empty() && field[0] == kField15);
  std::size_t at = 1;
  while ((field.at(at) & 0x80) != 0) ++at;
  return field.substr(at + 1);
}

std::string PayloadOf(std::string_view element) { return std::string(ValueOf(ValueOf(element))); }

const char* NameOf(MessageStatus status) {
  constexpr const char* kNames[] = {"", "READY", "IN_FLIGHT", "DELAYED", "PARKED", "SETTLED"};
  return kNames[static_cast<std::size_t>(status)];
}

std::string ResultName(const std::variant<Duplicate, Dropped, ErrorInfo>& result) {
  if (const auto* duplicate = std::get_if<Duplicate>(&result)) {
    return "duplicate of " + std::to_string(duplicate->sequence) + " " + NameOf(duplicate->status);
  }
  const auto* error = std::get_if<ErrorInfo>(&result);
  return error == nullptr ? "dropped" : ToString(error->reason);
}

}  // namespace

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

// ---- the disk

void TestDisk::Append(QueueHarness& queue, CommitRequest commit) {
  waiting_.emplace_back(&queue, std::move(commit));
}

bool TestDisk::CommitNext() {
  if (waiting_.empty()) return false;
  const auto [queue, commit] = std::move(waiting_.front());
  waiting_.pop_front();
  Apply(commit.batch);
  queue->Step(CommitDone{commit.commit});
  return true;
}

void TestDisk::CommitAll() {
  while (CommitNext()) {
  }
}

void TestDisk::Apply(const storage::Batch& batch) {
  const storage::Op* chunk = nullptr;
  for (const storage::Op& op : batch.ops()) {
    auto& rows = tables_.at(Slot(op.table));
    switch (op.kind) {
      case OpKind::kPutOnce:
        MQD_ASSERT(!rows.contains(op.key));
        [[fallthrough]];
      case OpKind::kPut:
        rows[op.key] = op.body != nullptr ? std::string(op.body->encoded()) : op.value;
        break;
      case OpKind::kDeletePrefix:
        std::erase_if(rows, [&](const auto& row) { return row.first.starts_with(op.key); });
        break;
      default:
        rows.erase(op.key);
    }
    if (op.table == Table::kChunks) chunk = &op;
    if (op.kind == OpKind::kPutOnce && chunk != nullptr) Note(*chunk, *op.body);
  }
}

void TestDisk::Note(const storage::Op& chunk, const storage::Body& body) {
  const auto record = storage::DecodeChunkRecord(chunk.value);
  MQD_ASSERT(record.ok());
  if (record->key.generation > 0) return;  // rewritten: nothing new
  const Chunk known = Chunk::FromRecord(*record);
  storage::QueueId queue = 0;
  for (int i = 0; i < 8; ++i) queue = queue << 8 | static_cast<unsigned char>(chunk.key[i]);
  for (std::uint32_t i = 0; i < known.count; ++i) {
    stored_.push_back({queue, known.SequenceAt(i), known.ChargeAt(i), PayloadOf(body.Element(i))});
  }
}

absl::Status TestDisk::Scan(storage::ShardId, Table table, std::string_view prefix,
                            const Visit& visit) const {
  const auto& rows = tables_.at(Slot(table));
  for (auto row = rows.lower_bound(std::string(prefix));
       row != rows.end() && row->first.starts_with(prefix); ++row) {
    if (absl::Status status = visit(row->first, row->second); !status.ok()) return status;
  }
  return absl::OkStatus();
}

void TestDisk::ReadBody(storage::ShardId, QueueId queue, ChunkKey key, BodyDone done) const {
  const auto& rows = tables_.at(Slot(Table::kBodies));
  const auto row = rows.find(storage::BodyRowKey(queue, key));
  if (row == rows.end()) return done(absl::NotFoundError("no such body"));
  done(storage::Body::Decode(row->second));
}

std::size_t TestDisk::rows() const {
  std::size_t count = 0;
  for (const auto& table : tables_) count += table.size();
  return count;
}

// ---- the queue

QueueHarness::QueueHarness(QueueSettings settings, Place place)
    : disk_(place.disk != nullptr ? std::move(place.disk) : std::make_shared<TestDisk>()),
      id_(place.id) {
  storage::Batch batch;
  batch.PutQueue({.id = id_, .name = place.name, .settings = EncodeSettings(settings)});
  disk_->Apply(batch);
  Recover();
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
  core_ = std::make_unique<QueueCore>(ReadBack(), *core_, around_.now);
  Step(Tick{});
}

RecoveredQueue QueueHarness::ReadBack() {
  sends_.clear();
  next_publish_id_.clear();
  rebuild_ = false;
  auto record = FindQueueRecord(*disk_, kShard, id_);
  MQD_ASSERT(record.ok());
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
    std::shared_ptr<const storage::Body> read;
    disk_->ReadBody(kShard, id_, chunk, [&](auto body) {
      if (body.ok()) read = *std::move(body);
    });
    Step(BodyLoaded{chunk, std::move(read)});
  }
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
  } else if (const auto* want = std::get_if<WantCredit>(&effect)) {
    Trace(want->consumer);
  } else if (const auto* back = std::get_if<CreditReturned>(&effect)) {
    Trace(back->consumer * 2 + (back->more ? 1 : 0));
    Trace(back->messages);
  } else if (const auto* end = std::get_if<SendEndOfQueue>(&effect)) {
    Trace(end->consumer);
  }
}

// ---- what happens

void QueueHarness::AttachPublisher(const std::string& publisher,
                                   std::optional<ProducerId> producer) {
  Step(queue::AttachPublisher{NewId(publisher), producer});
}

void QueueHarness::DetachPublisher(const std::string& publisher) {
  if (!ids_.contains(publisher)) return;
  Step(queue::DetachPublisher{PublisherIdOf(publisher)});
}

void QueueHarness::AttachConsumer(const std::string& consumer, ConsumerOptions options) {
  Step(queue::AttachConsumer{.consumer = NewId(consumer),
                             .marks_started = options.marks_started,
                             .on_demand = options.on_demand,
                             .lease_ns = options.lease_ms * kNsPerMs});
  if (options.messages > 0) Grant(consumer, options.messages, options.bytes);
}

void QueueHarness::DetachConsumer(const std::string& consumer, bool keep_deliveries) {
  Step(queue::DetachConsumer{ConsumerIdOf(consumer), keep_deliveries});
}

void QueueHarness::Grant(const std::string& consumer, std::uint64_t messages, std::uint64_t bytes) {
  Step(GrantCredit{ConsumerIdOf(consumer), messages, bytes});
}

PublishBatch QueueHarness::BatchOf(const std::vector<std::string>& payloads,
                                   const std::vector<std::string>& keys) const {
  auto owner = std::make_shared<std::pair<std::vector<std::string>, std::vector<std::string>>>();
  owner->second = keys;
  for (const std::string& payload : payloads) owner->first.push_back(Field(Field(payload)));
  PublishBatch batch;
  for (std::size_t i = 0; i < payloads.size(); ++i) {
    IncomingMessage message{
        .element = owner->first[i],
        .charge_bytes = static_cast<std::uint32_t>(payloads[i].size()) + kOverheadBytes};
    if (i < keys.size() && !keys[i].empty()) {
      message.idempotency_key = owner->second[i];
      message.key_hash = {1, std::hash<std::string>{}(keys[i])};
      message.digest = std::hash<std::string>{}(payloads[i]);
    }
    batch.messages.push_back(message);
  }
  batch.owner = owner;
  return batch;
}

void QueueHarness::Publish(const std::string& publisher, const std::vector<std::string>& payloads,
                           PublishOptions options) {
  std::uint64_t& next = next_publish_id_.try_emplace(publisher, 1).first->second;
  PublishBatch batch = BatchOf(payloads, options.keys);
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
  around_.now.steady_ns += ms * kNsPerMs;
  around_.now.wall_ms += ms;
  Step(Tick{});
}

// ---- what came out

std::vector<Seen> QueueHarness::TakeDeliveries() {
  std::vector<Seen> seen;
  for (const SendDeliveries& send : Take<SendDeliveries>()) {
    for (const DeliveryRun& run : send.batch.runs) {
      for (std::uint32_t i = 0; i < run.count; ++i) {
        seen.push_back({names_.at(send.consumer), run.first_delivery_id + i, run.first_sequence + i,
                        run.attempt, PayloadOf(run.body->Element(run.first_index + i)),
                        run.dead_letter});
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
      results.emplace(one.publish_id, ResultName(one.result));
    }
  }
  std::vector<std::string> named;
  for (const auto& [id, result] : results) named.push_back(std::to_string(id) + " " + result);
  return named;
}

std::vector<PeekedMessage> QueueHarness::PeekAll(MessageStatus status) {
  Step(Peek{.request = next_request_++, .status = status, .limit = 1'000});
  return TakeAnswer<std::vector<PeekedMessage>>();
}

}  // namespace mqd::queue::testing
