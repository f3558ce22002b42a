// history.cc: the list of operations, and how it is written down.

#include "tests/crash/history.h"

#include <chrono>
#include <fstream>
#include <initializer_list>
#include <nlohmann/json.hpp>
#include <utility>

#include "absl/strings/str_cat.h"
#include "proto/base/assert.h"

namespace mqd::crash {
namespace {

constexpr int kKinds = 11;
constexpr int kOutcomes = 3;
constexpr int kSettleKinds = 5;

std::string Quoted(const std::string& text) {
  std::string out = "\"";
  for (const char c : text) {
    if (c == '"' || c == '\\') out += '\\';
    out += static_cast<unsigned char>(c) < 0x20 ? ' ' : c;
  }
  return out + '"';
}

void AppendNumber(const char* name, std::uint64_t value, std::string& line) {
  if (value != 0) absl::StrAppend(&line, ",\"", name, "\":", value);
}

void AppendText(const char* name, const std::string& value, std::string& line) {
  if (!value.empty()) absl::StrAppend(&line, ",\"", name, "\":", Quoted(value));
}

void AppendFlag(const char* name, bool value, std::string& line) {
  if (value) absl::StrAppend(&line, ",\"", name, "\":true");
}

std::string ToJson(const Record& record) {
  std::string line =
      absl::StrCat("{\"id\":", record.id, ",\"kind\":\"", NameOf(record.kind),
                   "\",\"process\":", record.process, ",\"invoked_ns\":", record.invoked_ns);
  AppendNumber("returned_ns", static_cast<std::uint64_t>(record.returned_ns), line);
  AppendText("outcome", NameOf(record.outcome), line);
  if (record.settle != SettleKind::kNone) AppendText("settle", NameOf(record.settle), line);
  absl::StrAppend(&line, ",\"queue\":", record.queue);
  AppendNumber("parent", record.parent, line);
  AppendNumber("session", record.session, line);
  AppendNumber("message", record.message, line);
  AppendNumber("digest", record.digest, line);
  AppendNumber("key", record.key, line);
  AppendNumber("sequence", record.sequence, line);
  AppendNumber("origin", record.origin, line);
  AppendNumber("delivery", record.delivery, line);
  AppendNumber("attempt", record.attempt, line);
  AppendNumber("lease_ns", static_cast<std::uint64_t>(record.lease_ns), line);
  AppendNumber("messages", record.messages, line);
  AppendNumber("bytes", record.bytes, line);
  AppendNumber("stored", record.stored, line);
  AppendNumber("gone", record.gone, line);
  AppendFlag("duplicate", record.duplicate, line);
  AppendFlag("at_rest", record.at_rest, line);
  AppendFlag("limited", record.limited, line);
  AppendFlag("broken", record.broken, line);
  AppendText("note", record.note, line);
  return line + "}\n";
}

/// The value of this name; Enum{} when no value has it.
template <class Enum>
Enum ValueOf(const std::string& name, int count) {
  for (int i = 0; i < count; ++i) {
    if (name == NameOf(static_cast<Enum>(i))) return static_cast<Enum>(i);
  }
  return Enum{};
}

Record FromJson(const nlohmann::json& json) {
  Record record;
  record.kind = ValueOf<Kind>(json.value("kind", ""), kKinds);
  record.outcome = ValueOf<Outcome>(json.value("outcome", ""), kOutcomes);
  record.settle = ValueOf<SettleKind>(json.value("settle", ""), kSettleKinds);
  record.duplicate = json.value("duplicate", false);
  record.at_rest = json.value("at_rest", false);
  record.limited = json.value("limited", false);
  record.broken = json.value("broken", false);
  record.process = json.value("process", std::uint32_t{0});
  record.queue = json.value("queue", std::uint32_t{0});
  record.attempt = json.value("attempt", std::uint32_t{0});
  for (const auto& [name, field] :
       std::initializer_list<std::pair<const char*, std::uint64_t*>>{{"id", &record.id},
                                                                     {"parent", &record.parent},
                                                                     {"session", &record.session},
                                                                     {"message", &record.message},
                                                                     {"digest", &record.digest},
                                                                     {"key", &record.key},
                                                                     {"sequence", &record.sequence},
                                                                     {"origin", &record.origin},
                                                                     {"delivery", &record.delivery},
                                                                     {"messages", &record.messages},
                                                                     {"bytes", &record.bytes},
                                                                     {"stored", &record.stored},
                                                                     {"gone", &record.gone}}) {
    *field = json.value(name, std::uint64_t{0});
  }
  record.lease_ns = json.value("lease_ns", std::int64_t{0});
  record.invoked_ns = json.value("invoked_ns", std::int64_t{0});
  record.returned_ns = json.value("returned_ns", std::int64_t{0});
  record.note = json.value("note", "");
  return record;
}

}  // namespace

std::int64_t NowNs() {
  return std::chrono::duration_cast<std::chrono::nanoseconds>(
             std::chrono::steady_clock::now().time_since_epoch())
      .count();
}

OperationId History::Invoke(Record record) {
  base::MutexLock lock(mutex_);
  record.id = records_.size() + 1;
  record.invoked_ns = NowNs();
  records_.push_back(std::move(record));
  return records_.back().id;
}

void History::Return(OperationId id, Outcome outcome, std::uint64_t sequence, bool duplicate,
                     std::string note) {
  base::MutexLock lock(mutex_);
  MQD_ASSERT(id > 0 && id <= records_.size());
  Record& record = records_[id - 1];
  record.outcome = outcome;
  record.returned_ns = NowNs();
  record.duplicate = duplicate;
  record.note = std::move(note);
  if (sequence != 0) record.sequence = sequence;
  if (outcome == Outcome::kOk) last_ok_[record.process] = record.returned_ns;
}

void History::EndFault(OperationId id, std::int64_t end_ns) {
  base::MutexLock lock(mutex_);
  Record& record = records_.at(id - 1);
  MQD_ASSERT(record.kind == Kind::kFault);
  record.returned_ns = end_ns;
}

std::int64_t History::LastOk(std::uint32_t process) const {
  base::MutexLock lock(mutex_);
  const auto found = last_ok_.find(process);
  return found == last_ok_.end() ? 0 : found->second;
}

void History::Append(std::vector<Record> records) {
  base::MutexLock lock(mutex_);
  const OperationId before = records_.size();
  for (Record& record : records) {
    record.id += before;
    if (record.parent != 0) record.parent += before;
    records_.push_back(std::move(record));
  }
}

OperationId History::Add(Record record) {
  const OperationId id = Invoke(std::move(record));
  base::MutexLock lock(mutex_);
  records_[id - 1].returned_ns = records_[id - 1].invoked_ns;
  return id;
}

std::vector<Record> History::Copy() const {
  base::MutexLock lock(mutex_);
  return {records_.begin(), records_.end()};
}

absl::Status WriteJsonLines(const std::vector<Record>& records, const std::string& path) {
  std::ofstream file(path);
  for (const Record& record : records) file << ToJson(record);
  if (!file.flush()) return absl::UnavailableError(absl::StrCat("cannot write ", path));
  return absl::OkStatus();
}

absl::StatusOr<std::vector<Record>> ReadJsonLines(const std::string& path) {
  std::ifstream file(path);
  if (!file) return absl::NotFoundError(absl::StrCat("cannot read ", path));
  std::vector<Record> records;
  std::string line;
  while (std::getline(file, line)) {
    const nlohmann::json json = nlohmann::json::parse(line, nullptr, false);
    if (!json.is_object()) return absl::DataLossError(absl::StrCat(path, ": ", line));
    records.push_back(FromJson(json));
  }
  return records;
}

const char* NameOf(Kind kind) {
  static constexpr const char* kNames[] = {"publish", "deliver", "settle",     "detach",
                                           "credit",  "stats",   "kill",       "serve",
                                           "fault",   "stuck",   "daemon_exit"};
  return kNames[static_cast<int>(kind)];
}

const char* NameOf(Outcome outcome) {
  static constexpr const char* kNames[] = {"unknown", "ok", "fail"};
  return kNames[static_cast<int>(outcome)];
}

const char* NameOf(SettleKind settle) {
  static constexpr const char* kNames[] = {"none", "ack", "retry", "release", "dead_letter"};
  return kNames[static_cast<int>(settle)];
}

}  // namespace mqd::crash
