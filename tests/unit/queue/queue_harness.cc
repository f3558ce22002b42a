#include "tests/unit/queue/queue_harness.h"

#include <functional>
#include <utility>

#include "proto/base/assert.h"
#include "storage/record_codec.h"

namespace mqd::queue::testing {
namespace {

using storage::OpKind;
using storage::Table;

/// Field 15 holding a Message whose field 15 is `payload`, in the Protocol Buffers wire format.
std::string Element(const std::string& payload) {
  MQD_ASSERT(payload.size() < 120);
  std::string element = {'\x7a', static_cast<char>(payload.size() + 2), '\x7a',
                         static_cast<char>(payload.size())};
  return element + payload;
}

KeyHash HashOf(const std::string& key) { return {1, std::hash<std::string>{}(key)}; }

/// Rows of the store as the recovery reads them.
class MapReader final : public storage::Reader {
 public:
  explicit MapReader(const std::map<Table, std::map<std::string, std::string>>& disk)
      : disk_(disk) {}

  absl::Status Scan(storage::ShardId, Table table, std::string_view prefix,
                    const Visit& visit) const override {
    const auto rows = disk_.find(table);
    if (rows == disk_.end()) return absl::OkStatus();
    for (auto row = rows->second.lower_bound(std::string(prefix));
         row != rows->second.end() && row->first.starts_with(prefix); ++row) {
      if (absl::Status status = visit(row->first, row->second); !status.ok()) return status;
    }
    return absl::OkStatus();
  }
  void ReadBody(storage::ShardId, QueueId queue, ChunkKey key, BodyDone done) const override {
    const auto& rows = disk_.at(Table::kBodies);
    const auto row = rows.find(storage::BodyRowKey(queue, key));
    if (row == rows.end()) return done(absl::NotFoundError("no such body"));
    done(storage::Body::Decode(row->second));
  }

 private:
  const std::map<Table, std::map<std::string, std::string>>& disk_;
};

constexpr QueueId kQueue = 7;

}  // namespace

QueueHarness::QueueHarness(QueueSettings settings) : settings_(std::move(settings)) {
  storage::Batch batch;
  batch.PutQueue({.id = kQueue, .name = "default/q", .settings = EncodeSettings(settings_)});
  Apply(batch);
  Restart();
}

void QueueHarness::Restart() {
  sends_.clear();
  commits_.clear();
  next_publish_id_.clear();
  const MapReader reader(disk_);
  auto record = FindQueueRecord(reader, storage::ShardId{0}, kQueue);
  MQD_ASSERT(record.ok());
  auto recovered = RecoverQueue(reader, storage::ShardId{0}, *std::move(record));
  MQD_ASSERT(recovered.ok());
  core_ = std::make_unique<QueueCore>(*std::move(recovered), FirstDelivery(epoch_++), around_.now);
  Step(Tick{});
}

void QueueHarness::Apply(const storage::Batch& batch) {
  for (const storage::Op& op : batch.ops()) {
    auto& rows = disk_[op.table];
    if (op.kind == OpKind::kPut || op.kind == OpKind::kPutOnce) {
      rows[op.key] = op.body != nullptr ? std::string(op.body->encoded()) : op.value;
    } else if (op.kind == OpKind::kDeletePrefix) {
      std::erase_if(rows, [&](const auto& row) { return row.first.starts_with(op.key); });
    } else {
      rows.erase(op.key);
    }
  }
}

std::size_t QueueHarness::rows() const {
  std::size_t count = 0;
  for (const auto& [table, rows] : disk_) count += rows.size();
  return count;
}

void QueueHarness::Step(Event event) {
  Effects effects;
  core_->Step(std::move(event), around_, effects);
  core_->EndTurn(around_, effects);
  Perform(std::move(effects));
}

void QueueHarness::Perform(Effects effects) {
  for (CommitRequest& commit : effects.commits) {
    last_sync_ = commit.sync;
    commits_.push_back(std::move(commit));
  }
  for (Effect& effect : effects.sends) sends_.push_back(std::move(effect));
  const MapReader reader(disk_);
  for (const ChunkKey& chunk : effects.loads) {
    std::shared_ptr<const storage::Body> read;
    reader.ReadBody(storage::ShardId{0}, kQueue, chunk, [&](auto body) {
      if (body.ok()) read = *std::move(body);
    });
    Step(BodyLoaded{chunk, std::move(read)});
  }
}

bool QueueHarness::CommitNext() {
  if (commits_.empty()) return false;
  const CommitRequest commit = std::move(commits_.front());
  commits_.pop_front();
  Apply(commit.batch);
  Step(CommitDone{commit.commit});
  return true;
}

void QueueHarness::CommitAll() {
  while (CommitNext()) {
  }
}

void QueueHarness::Advance(std::int64_t ms) {
  around_.now.steady_ns += ms * kNsPerMs;
  around_.now.wall_ms += ms;
  Step(Tick{});
}

void QueueHarness::Publisher(PublisherId publisher, std::optional<ProducerId> producer) {
  Step(AttachPublisher{publisher, producer});
}

void QueueHarness::Consumer(ConsumerId consumer, std::uint64_t messages, bool marks_started,
                            std::uint64_t bytes) {
  Step(AttachConsumer{.consumer = consumer, .marks_started = marks_started});
  Step(GrantCredit{consumer, messages, bytes});
}

void QueueHarness::Publish(PublisherId publisher, std::vector<std::string> payloads,
                           std::vector<std::string> keys, std::uint64_t first_id,
                           std::int64_t wait_ms) {
  auto owner = std::make_shared<std::pair<std::vector<std::string>, std::vector<std::string>>>();
  owner->second = std::move(keys);
  for (const std::string& payload : payloads) owner->first.push_back(Element(payload));
  std::uint64_t& next = next_publish_id_.try_emplace(publisher, 1).first->second;
  PublishBatch batch{.publisher = publisher, .first_publish_id = first_id != 0 ? first_id : next};
  if (wait_ms >= 0) batch.deadline_ns = around_.now.steady_ns + wait_ms * kNsPerMs;
  for (std::size_t i = 0; i < payloads.size(); ++i) {
    IncomingMessage message{.element = owner->first[i],
                            .charge_bytes = static_cast<std::uint32_t>(payloads[i].size()) + 64};
    if (!owner->second.empty()) {
      message.idempotency_key = owner->second[i];
      message.key_hash = HashOf(owner->second[i]);
      message.digest = std::hash<std::string>{}(payloads[i]);
    }
    batch.messages.push_back(message);
  }
  next = batch.first_publish_id + payloads.size();
  batch.owner = owner;
  Step(std::move(batch));
}

SettleResult QueueHarness::Settle(DeliveryRange range, SettleOutcome outcome) {
  struct Settle settle {
    .request = next_request_++
  };
  settle.entries.push_back({range, std::move(outcome)});
  Step(std::move(settle));
  CommitAll();
  std::vector<RequestDone> done = Take<RequestDone>();
  MQD_ASSERT(done.size() == 1);
  return std::get<SettleResult>(done[0].result);
}

std::vector<Seen> QueueHarness::TakeDeliveries() {
  std::vector<Seen> seen;
  for (const SendDeliveries& send : Take<SendDeliveries>()) {
    for (const DeliveryRun& run : send.batch.runs) {
      for (std::uint32_t i = 0; i < run.count; ++i) {
        seen.push_back({send.consumer, run.first_delivery_id + i, run.first_sequence + i,
                        run.attempt,
                        std::string(run.body->Element(run.first_index + i).substr(4))});
      }
    }
  }
  return seen;
}

}  // namespace mqd::queue::testing
