#pragma once

// log.h: how mqd logs: through spdlog's default logger, one line an event, on standard error.
//
// Text:  2025-11-24T08:15:00.123Z info  serving gRPC on 127.0.0.1:6480
// JSON:  {"time":"2025-11-24T08:15:00.123Z","level":"info","thread":71,"message":"serving ..."}
//
// Whatever a client put in a message (names, reasons), a line stays a line and a terminal is not
// commanded: control characters are escaped here, for every caller. Payloads and tokens are never
// logged.
//
// Threads: SetUpLog() from main before other threads start, or again on reload. Logging: any.

#include <cstdint>
#include <string>
#include <string_view>

namespace mqd::server {

enum class LogFormat : std::uint8_t { kText, kJson };
enum class LogLevel : std::uint8_t { kTrace, kDebug, kInfo, kWarning, kError };

/// Sets format and level of the default logger.
void SetUpLog(LogFormat format, LogLevel level);

/// `text` with every control character as \n, \t or \x1b; other bytes as they are.
std::string EscapeControls(std::string_view text);

/// One line of the log, without the end of line; for tests and SetUpLog().
struct LogLine {
  std::int64_t time_ms = 0;  // since 1970
  LogLevel level = LogLevel::kInfo;
  std::uint64_t thread = 0;
  std::string_view message;
};
std::string FormatLogLine(LogFormat format, const LogLine& line);

}  // namespace mqd::server
