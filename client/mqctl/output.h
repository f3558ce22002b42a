#pragma once

// output.h: tables, JSON and errors. Data goes to standard output, everything else to standard
// error. Off a terminal there is no colour and nothing is cut.
//
// Threads: one at a time.
// Source: libsmartcols for tables.

#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "client/mqctl/exit_code.h"
#include "mqd/admin.h"
#include "mqd/message.h"
#include "mqd/queue.h"

namespace mqd::mqctl {

using Json = nlohmann::ordered_json;

struct Column {
  std::string name;
  bool number = false;  // to the right
};

void PrintTable(const std::vector<Column>& columns,
                const std::vector<std::vector<std::string>>& rows);
void PrintJson(const Json& json);

/// What, why and what to do, on standard error; the code to end with.
ExitCode PrintError(const absl::Status& status);

/// Payloads that are not UTF-8 are shown with replacement characters.
std::string Dump(const Json& json, int indent = -1);

Json StatsToJson(const QueueStats& stats);
Json QueueToJson(const Queue& queue);
Json PeekedToJson(const PeekedMessage& message);
Json DeadLetterToJson(const DeadLetterInfo& info);
/// null for no time.
Json TimeToJson(const std::optional<WallTime>& time);
/// "2026-01-31T12:00:00.000Z"
std::string FormatTime(WallTime time);
/// "-" for no time.
std::string FormatTime(const std::optional<WallTime>& time);
/// One line of at most `width` characters, without control characters.
std::string OneLine(std::string_view text, std::size_t width);
const char* StatusName(MessageStatus status);

}  // namespace mqd::mqctl
