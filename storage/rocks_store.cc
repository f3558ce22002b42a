#include "storage/rocks_store.h"

#include <filesystem>
#include <system_error>
#include <utility>

#include "absl/strings/str_cat.h"
#include "storage/body_reader.h"
#include "storage/commit_loop.h"
#include "storage/rocks_database.h"
#include "storage/rocks_file_system.h"
#include "storage/rocks_log_writer.h"
#include "storage/rocks_recovery.h"

namespace mqd::storage {
namespace {

/// Replaying the log flushes it, so it needs room for as much again.
constexpr std::uint64_t kRecoveryBytes = RocksLogWriter::kDiskReserveBytes / 2;

absl::StatusOr<std::uint64_t> WatermarkBytes(const RocksStore::Options& options) {
  if (options.disk_low_watermark_bytes) return *options.disk_low_watermark_bytes;
  std::error_code error;
  const std::filesystem::space_info space = std::filesystem::space(options.data_dir, error);
  if (error) return ErrnoStatus(error.value(), "ask for the size of", options.data_dir);
  return DiskWatch::DefaultWatermark(space.capacity);
}

absl::Status CheckRoom(const RocksStore::Options& options, rocksdb::FileSystem& file_system,
                       std::uint64_t watermark_bytes) {
  std::uint64_t free = 0;
  if (!file_system.GetFreeSpace(options.data_dir, rocksdb::IOOptions(), &free, nullptr).ok()) {
    return absl::UnavailableError(
        absl::StrCat("the volume of ", options.data_dir, " does not say how much space is free"));
  }
  const std::uint64_t needed = std::min(kRecoveryBytes, watermark_bytes);
  if (free >= needed) return absl::OkStatus();
  return absl::ResourceExhaustedError(absl::StrCat(
      "the volume of ", options.data_dir, " has ", free >> 20, " MiB free and recovery needs ",
      needed >> 20, " MiB; free some space and start again"));
}

absl::StatusOr<std::unique_ptr<RocksDatabase>> OpenDatabase(
    const RocksStore::Options& options, const DataDir& directory,
    std::shared_ptr<rocksdb::FileSystem> file_system) {
  return RocksDatabase::Open({.path = directory.database_path(),
                              .create = directory.initialising(),
                              .budget = {options.memtable_bytes, options.block_cache_bytes},
                              .file_system = std::move(file_system),
                              .manifest_mark_path = directory.manifest_mark_path()});
}

}  // namespace

// In the order in which they are built; destroyed the other way round, threads first.
struct RocksStore::Parts {
  Parts(DataDir opened, std::unique_ptr<RocksDatabase> opened_database, RocksLogWriter::Start start,
        CommitLoop::Options loop_options)
      : directory(std::move(opened)),
        database(std::move(opened_database)),
        writer(*database, std::move(start)),
        loop(writer, std::move(loop_options)) {}

  DataDir directory;
  std::unique_ptr<RocksDatabase> database;
  RocksLogWriter writer;
  CommitLoop loop;
  BodyReader reader;
};

absl::StatusOr<std::unique_ptr<RocksStore>> RocksStore::Open(Options options) {
  return RocksStoreOpener::Open(std::move(options), rocksdb::FileSystem::Default());
}

absl::StatusOr<std::unique_ptr<RocksStore>> RocksStoreOpener::Open(
    RocksStore::Options options, std::shared_ptr<rocksdb::FileSystem> file_system) {
  absl::StatusOr<DataDir> directory = DataDir::Open(options.data_dir);
  if (!directory.ok()) return directory.status();
  const absl::StatusOr<std::uint64_t> low_bytes = WatermarkBytes(options);
  if (!low_bytes.ok()) return low_bytes.status();
  if (absl::Status status = CheckRoom(options, *file_system, *low_bytes); !status.ok()) {
    return status;
  }
  if (absl::Status status = KeepLogs(*directory); !status.ok()) return status;
  absl::StatusOr<std::unique_ptr<RocksDatabase>> database =
      OpenDatabase(options, *directory, std::move(file_system));
  if (!database.ok()) return database.status();
  absl::StatusOr<Recovered> recovered = Recover(*directory, **database, options.accept_data_loss);
  if (!recovered.ok()) return recovered.status();
  const absl::StatusOr<std::uint64_t> free_bytes = (*database)->FreeBytes();
  if (!free_bytes.ok()) return free_bytes.status();
  if (directory->initialising()) {
    if (absl::Status status = directory->MarkReady(); !status.ok()) return status;
  }
  if (absl::Status status = DropKeptLogs(*directory); !status.ok()) return status;

  CommitLoop::Options loop_options{.epoch = recovered->head.epoch,
                                   .sync_interval = options.sync_interval,
                                   .write_ahead_bytes = options.write_ahead_bytes,
                                   .on_fatal = std::move(options.on_fatal)};
  return std::unique_ptr<RocksStore>(new RocksStore(std::make_unique<RocksStore::Parts>(
      *std::move(directory), *std::move(database),
      RocksLogWriter::Start{recovered->head, std::move(recovered->applied),
                            std::move(recovered->watermark), *low_bytes, *free_bytes},
      std::move(loop_options))));
}

RocksStore::RocksStore(std::unique_ptr<Parts> parts) : parts_(std::move(parts)) {}

RocksStore::~RocksStore() = default;

void RocksStore::Append(ShardId shard, Epoch epoch, Batch batch, Sync sync, Done done) {
  parts_->loop.Append(shard, epoch, std::move(batch), sync, std::move(done));
}

Epoch RocksStore::CurrentEpoch() const { return parts_->loop.epoch(); }

bool RocksStore::DiskLow() const { return parts_->writer.disk().low; }

absl::Status RocksStore::Scan(ShardId shard, Table table, std::string_view prefix,
                              const Visit& visit) const {
  return parts_->database->Scan(shard, table, prefix, visit);
}

void RocksStore::ReadBody(ShardId shard, QueueId queue, ChunkKey key, BodyDone done) const {
  parts_->reader.Post([this, shard, queue, key, done = std::move(done)]() mutable {
    done(parts_->database->GetBody(shard, queue, key));
  });
}

StoreStats RocksStore::Stats() const {
  const CommitLoop::Counts counts = parts_->loop.counts();
  const RocksLogWriter::Disk disk = parts_->writer.disk();
  return {counts.committed_batches, counts.groups, counts.flushes, disk.free_bytes,
          disk.watermark_bytes};
}

const Identity& RocksStore::identity() const { return parts_->directory.identity(); }

}  // namespace mqd::storage
