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
              {"dedup_evicted_total", stats.dedup_evicted_total}};
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
