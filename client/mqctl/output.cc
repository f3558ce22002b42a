#include "client/mqctl/output.h"

#include <libsmartcols.h>
#include <unistd.h>

#include <chrono>
#include <ctime>
#include <iostream>
#include <memory>

#include "client/mqctl/settings_table.h"
#include "mqd/errors.h"

namespace mqd::mqctl {

void PrintTable(const std::vector<Column>& columns,
                const std::vector<std::vector<std::string>>& rows) {
  const std::unique_ptr<libscols_table, decltype(&scols_unref_table)> table(scols_new_table(),
                                                                            &scols_unref_table);
  scols_table_enable_maxout(table.get(), 0);
  for (const Column& column : columns) {
    const int flags = column.number ? SCOLS_FL_RIGHT : 0;
    scols_table_new_column(table.get(), column.name.c_str(), 0, flags);
  }
  if (isatty(STDOUT_FILENO) == 0) scols_table_set_termforce(table.get(), SCOLS_TERMFORCE_NEVER);
  for (const std::vector<std::string>& row : rows) {
    libscols_line* line = scols_table_new_line(table.get(), nullptr);
    for (std::size_t i = 0; i < row.size(); ++i) {
      scols_line_set_data(line, i, row[i].c_str());
    }
  }
  scols_print_table(table.get());
}

std::string Dump(const Json& json, int indent) {
  return json.dump(indent, ' ', false, Json::error_handler_t::replace);
}

void PrintJson(const Json& json) { std::cout << Dump(json, 2) << '\n'; }

ExitCode PrintError(const absl::Status& status) {
  const auto info = ErrorInfoOf(status);
  std::cerr << "mqctl: " << std::string(status.message()) << '\n';
  if (info) {
    std::cerr << "reason: " << ReasonName(info->reason);
    if (info->limit != 0) std::cerr << ", limit " << info->limit << ", current " << info->current;
    std::cerr << '\n';
    if (info->retryable) std::cerr << "the same command may succeed later\n";
  } else if (status.code() == absl::StatusCode::kUnavailable) {
    std::cerr << "is mqd running there? name another broker with --addr or MQCTL_ADDR\n";
  }
  return ExitCodeOf(status);
}

Json StatsToJson(const QueueStats& stats) {
  Json out = {{"ready", stats.ready},
              {"in_flight", stats.in_flight},
              {"delayed", stats.delayed},
              {"parked", stats.parked},
              {"committing", stats.committing},
              {"backlog_bytes", stats.backlog_bytes},
              {"publishers", stats.publishers},
              {"consumers", stats.consumers},
              {"blocked_publishers", stats.blocked_publishers},
              {"dedup_entries", stats.dedup_entries},
              {"published_total", stats.published_total},
              {"duplicates_total", stats.duplicates_total},
              {"rejected_total", stats.rejected_total},
              {"delivered_total", stats.delivered_total},
              {"redelivered_total", stats.redelivered_total},
              {"acked_total", stats.acked_total},
              {"retried_total", stats.retried_total},
              {"released_total", stats.released_total},
              {"dead_lettered_total", stats.dead_lettered_total},
              {"lease_expired_total", stats.lease_expired_total},
              {"purged_total", stats.purged_total},
              {"dedup_evicted_total", stats.dedup_evicted_total},
              {"dropped_total", stats.dropped_total},
              {"expired_total", stats.expired_total},
              {"diverted_total", stats.diverted_total},
              {"cancelled_total", stats.cancelled_total},
              {"recalled_total", stats.recalled_total},
              {"awaited_confirms", stats.awaited_confirms},
              {"dead_letter_waiting", stats.dead_letter_waiting},
              {"alarms", stats.alarms}};
  if (stats.oldest_age) {
    out["oldest_age_seconds"] = static_cast<double>(stats.oldest_age->count()) / 1'000;
  }
  return out;
}

Json QueueToJson(const Queue& queue) {
  return {{"name", queue.name},
          {"generation", queue.generation},
          {"create_time", FormatTime(queue.create_time)},
          {"closed", queue.closed},
          {"settings", SettingsToJson(queue.settings)},
          {"stats", StatsToJson(queue.stats)}};
}

Json TimeToJson(const std::optional<WallTime>& time) {
  return time ? Json(FormatTime(*time)) : Json(nullptr);
}

namespace {

Json NotesToJson(const std::vector<AttemptNote>& notes) {
  Json out = Json::array();
  for (const AttemptNote& note : notes) {
    out.push_back({{"attempt", note.attempt},
                   {"time", FormatTime(note.time)},
                   {"consumer", note.consumer},
                   {"error", note.error}});
  }
  return out;
}

}  // namespace

Json DeadLetterToJson(const DeadLetterInfo& info) {
  return {{"queue", info.queue},           {"sequence", info.sequence},
          {"reason", info.reason},         {"attempts", info.attempts},
          {"time", FormatTime(info.time)}, {"notes", NotesToJson(info.notes)}};
}

Json PeekedToJson(const PeekedMessage& message) {
  Json headers = Json::object();
  for (const auto& [key, value] : message.message.headers) headers[key] = value;
  Json out = {{"sequence", message.sequence},
              {"state", StatusName(message.status)},
              {"attempts", message.attempts},
              {"publish_time", FormatTime(message.publish_time)},
              {"delivery_id", message.delivery_id},
              {"last_error", message.last_error},
              {"idempotency_key", message.message.idempotency_key},
              {"payload", message.message.payload},
              {"ordering_key", message.message.ordering_key},
              {"priority", message.message.priority},
              {"headers", headers},
              {"deliver_at", TimeToJson(message.deliver_at)},
              {"notes", NotesToJson(message.notes)}};
  if (message.dead_letter) out["dead_letter"] = DeadLetterToJson(*message.dead_letter);
  return out;
}

std::string FormatTime(const std::optional<WallTime>& time) {
  return time ? FormatTime(*time) : "-";
}

std::string OneLine(std::string_view text, std::size_t width) {
  std::string out;
  for (const char c : text) {
    if (out.size() == width) {
      out.replace(width - 3, 3, "...");
      break;
    }
    out += static_cast<unsigned char>(c) < ' ' ? ' ' : c;
  }
  return out;
}

std::string FormatTime(WallTime time) {
  using std::chrono::duration_cast;
  const auto since = time.time_since_epoch();
  const auto ms = duration_cast<std::chrono::milliseconds>(since).count();
  const std::time_t seconds = static_cast<std::time_t>(ms / 1'000);
  std::tm utc{};
  gmtime_r(&seconds, &utc);
  char text[40];
  const std::size_t length = std::strftime(text, sizeof text, "%Y-%m-%dT%H:%M:%S", &utc);
  char fraction[8];
  std::snprintf(fraction, sizeof fraction, ".%03dZ", static_cast<int>(ms % 1'000));
  return std::string(text, length) + fraction;
}

const char* StatusName(MessageStatus status) {
  switch (status) {
    case MessageStatus::kReady:
      return "ready";
    case MessageStatus::kInFlight:
      return "in_flight";
    case MessageStatus::kDelayed:
      return "delayed";
    case MessageStatus::kParked:
      return "parked";
    case MessageStatus::kSettled:
      return "settled";
    default:
      return "unknown";
  }
}

}  // namespace mqd::mqctl
