#include "storage/rocks_database.h"

#include <algorithm>
#include <utility>

#include "absl/strings/escaping.h"
#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "proto/base/mutex.h"
#include "rocksdb/env.h"
#include "rocksdb/listener.h"
#include "rocksdb/sst_file_reader.h"
#include "storage/byte_codec.h"
#include "storage/node_rows.h"
#include "storage/record_codec.h"
#include "storage/rocks_manifest_mark.h"
#include "storage/rocks_status.h"

namespace mqd::storage {

// RocksDB calls it on its own threads, and on the commit thread when a write fails.
class BackgroundFault : public rocksdb::EventListener {
 public:
  void OnBackgroundError(rocksdb::BackgroundErrorReason, rocksdb::Status* error) override {
    base::MutexLock lock(mutex_);
    if (first_.ok()) first_ = FromRocks(*error, "flush or compact the database");
  }

  // After ENOSPC RocksDB would go on by itself, whatever max_bgerror_resume_count says, and flush
  // some tables of a log that was not synced: a power cut would then leave half a batch.
  void OnErrorRecoveryBegin(rocksdb::BackgroundErrorReason, rocksdb::Status,
                            bool* auto_recovery) override {
    *auto_recovery = false;
  }

  absl::Status first() const {
    base::MutexLock lock(mutex_);
    return first_;
  }

 private:
  mutable base::Mutex mutex_;
  absl::Status first_ ABSL_GUARDED_BY(mutex_);
};

namespace {

std::string_view View(const rocksdb::Slice& slice) { return {slice.data(), slice.size()}; }
rocksdb::Slice Slice(std::string_view view) { return {view.data(), view.size()}; }

absl::Status DamagedRow(const std::string& table, const std::string& key, const std::string& what) {
  return absl::DataLossError(absl::StrCat(RowName(table, key), " is damaged: ", what));
}

/// An iterator that stops behind `prefix`. The bound must outlive it.
std::unique_ptr<rocksdb::Iterator> IteratorUnder(rocksdb::DB& db,
                                                 rocksdb::ColumnFamilyHandle* family,
                                                 const rocksdb::Slice& behind) {
  rocksdb::ReadOptions options;
  options.verify_checksums = true;
  options.fill_cache = false;
  options.total_order_seek = true;
  if (!behind.empty()) options.iterate_upper_bound = &behind;
  return std::unique_ptr<rocksdb::Iterator>(db.NewIterator(options, family));
}

/// The table files that cannot be read. RocksDB says so of some by naming the manifest.
std::string DamagedTables(rocksdb::Env& env, const std::string& path) {
  rocksdb::Options options;
  options.env = &env;
  std::vector<std::string> names;
  std::vector<std::string> damaged;
  env.GetChildren(path, &names).PermitUncheckedError();
  std::sort(names.begin(), names.end());
  for (const std::string& name : names) {
    if (!absl::EndsWith(name, ".sst")) continue;
    rocksdb::SstFileReader reader(options);
    rocksdb::Status status = reader.Open(absl::StrCat(path, "/", name));
    if (status.ok()) status = reader.VerifyChecksum(rocksdb::ReadOptions());
    if (!status.ok()) damaged.push_back(absl::StrCat(name, " (", status.ToString(), ")"));
  }
  return absl::StrJoin(damaged, ", ");
}

}  // namespace

std::string BehindPrefix(std::string prefix) {
  while (!prefix.empty() && prefix.back() == '\xFF') prefix.pop_back();
  if (!prefix.empty()) ++prefix.back();
  return prefix;
}

RocksDatabase::RocksDatabase(std::string path, std::unique_ptr<rocksdb::Env> env,
                             std::shared_ptr<BackgroundFault> fault)
    : path_(std::move(path)), env_(std::move(env)), fault_(std::move(fault)) {}

absl::StatusOr<std::unique_ptr<RocksDatabase>> RocksDatabase::Open(const Options& options) {
  if (!options.manifest_mark_path.empty()) {
    absl::Status whole = RocksManifestMark::CheckLength(options.path, options.manifest_mark_path);
    if (!whole.ok()) return whole;
  }
  absl::StatusOr<std::unique_ptr<RocksDatabase>> database = OpenOnce(options);
  if (!absl::IsDataLoss(database.status()) || options.manifest_mark_path.empty()) return database;
  const absl::StatusOr<bool> cut =
      RocksManifestMark::CutTornManifest(options.path, options.manifest_mark_path);
  if (!cut.ok()) return cut.status();
  return *cut ? OpenOnce(options) : std::move(database);
}

absl::StatusOr<std::unique_ptr<RocksDatabase>> RocksDatabase::OpenOnce(const Options& options) {
  std::shared_ptr<rocksdb::FileSystem> files =
      options.file_system ? options.file_system : rocksdb::FileSystem::Default();
  if (!options.manifest_mark_path.empty()) {
    files = std::make_shared<RocksManifestMark>(std::move(files), options.manifest_mark_path);
  }
  auto env = rocksdb::NewCompositeEnv(std::move(files));
  std::unique_ptr<RocksDatabase> database(
      new RocksDatabase(options.path, std::move(env), std::make_shared<BackgroundFault>()));
  rocksdb::DBOptions db_options =
      DatabaseOptions(options.budget, database->env_.get(), options.create);
  db_options.listeners.push_back(database->fault_);
  db_options.wal_filter = &database->log_order_;
  rocksdb::DB* db = nullptr;
  const rocksdb::Status opened = rocksdb::DB::Open(
      db_options, options.path, FamilyDescriptors(options.budget), &database->families_, &db);
  if (!opened.ok()) {
    return OpenFailure(opened, options.path,
                       opened.IsCorruption() ? DamagedTables(*database->env_, options.path) : "");
  }
  database->db_.reset(db);
  return database;
}

RocksDatabase::~RocksDatabase() {
  if (!db_) return;
  for (rocksdb::ColumnFamilyHandle* family : families_) db_->DestroyColumnFamilyHandle(family);
  db_->Close().PermitUncheckedError();  // all that was promised has been synced before
}

absl::Status RocksDatabase::background_fault() const { return fault_->first(); }

absl::StatusOr<std::uint64_t> RocksDatabase::FreeBytes() const {
  std::uint64_t free = 0;
  const rocksdb::Status status =
      env_->GetFileSystem()->GetFreeSpace(path_, rocksdb::IOOptions(), &free, nullptr);
  if (!status.ok()) return FromRocks(status, "ask for the free space of the volume");
  return free;
}

absl::StatusOr<std::string> RocksDatabase::GetNodeRow(const std::string& key) const {
  std::string value;
  const rocksdb::Status status = db_->Get(rocksdb::ReadOptions(), node_family(), key, &value);
  if (!status.ok()) return FromRocks(status, absl::StrCat("read the node's row ", key.substr(2)));
  return value;
}

absl::Status RocksDatabase::ScanNodeRows(
    std::string_view name,
    const std::function<absl::Status(ShardId, std::string_view)>& visit) const {
  const auto rows = IteratorUnder(*db_, node_family(), rocksdb::Slice());
  for (rows->SeekToFirst(); rows->Valid(); rows->Next()) {
    const std::string_view key = View(rows->key());
    if (key.size() < 2 || key.substr(2) != name) continue;
    absl::Status status = visit(ShardOfKey(key), View(rows->value()));
    if (!status.ok()) return status;
  }
  return FromRocks(rows->status(), "read the node's rows");
}

absl::Status RocksDatabase::Scan(ShardId shard, Table table, std::string_view prefix,
                                 const Reader::Visit& visit) const {
  const std::string first = ShardPrefix(shard).append(prefix);
  const std::string behind = BehindPrefix(first);
  const rocksdb::Slice bound = behind;
  const auto rows = IteratorUnder(*db_, family(table), bound);
  std::string last = first;
  for (rows->Seek(first); rows->Valid(); rows->Next()) {
    const std::string_view key = View(rows->key());
    const std::string_view value = View(rows->value());
    if (!EndsWithItsChecksum(value)) {
      return DamagedRow(std::string(TableName(table)), std::string(key),
                        "its checksum does not match");
    }
    if (absl::Status status = visit(key.substr(2), value); !status.ok()) return status;
    last.assign(key);
  }
  if (rows->status().ok()) return absl::OkStatus();
  // The row itself cannot be read: name the one before it.
  return DamagedRow(std::string(TableName(table)), last,
                    absl::StrCat("it or the row behind it: ", rows->status().ToString()));
}

absl::StatusOr<std::shared_ptr<const Body>> RocksDatabase::GetBody(ShardId shard, QueueId queue,
                                                                   ChunkKey key) const {
  const std::string row = ShardPrefix(shard) + BodyRowKey(queue, key);
  rocksdb::ReadOptions options;
  options.fill_cache = false;  // a body is read once, then kept or sent by the queue
  std::string encoded;
  const rocksdb::Status status = db_->Get(options, family(Table::kBodies), Slice(row), &encoded);
  if (status.IsCorruption()) return DamagedRow("bodies", row, status.ToString());
  if (!status.ok()) {
    return FromRocks(status, absl::StrCat("read the body ", absl::BytesToHexString(row)));
  }
  absl::StatusOr<std::shared_ptr<const Body>> body = Body::Decode(std::move(encoded));
  if (!body.ok()) return DamagedRow("bodies", row, std::string(body.status().message()));
  return body;
}

}  // namespace mqd::storage
