// log_test.cc: a line stays a line, whatever a client put into it.

#include "server/log.h"

#include <gmock/gmock.h>

#include <string>

namespace mqd::server {
namespace {

TEST(LogTest, ControlCharactersAreEscaped) {
  EXPECT_EQ(EscapeControls("a\nb\tc"), "a\\nb\\tc");
  EXPECT_EQ(EscapeControls("\x1b[2J\r\x7f"), "\\x1b[2J\\x0d\\x7f");
  EXPECT_EQ(EscapeControls(std::string("\0", 1)), "\\x00");
  EXPECT_EQ(EscapeControls("\xC2\x9B"
                           "31m"),
            "\\x9b31m");
  EXPECT_EQ(EscapeControls("Zürich 北京"), "Zürich 北京");
}

TEST(LogTest, TextLineHasTimeAndLevelFirst) {
  const LogLine line = {
      .time_ms = 1'732'436'100'123, .level = LogLevel::kWarning, .thread = 7, .message = "a\nb"};
  EXPECT_EQ(FormatLogLine(LogFormat::kText, line), "2024-11-24T08:15:00.123Z warning a\\nb");
}

TEST(LogTest, JsonLineIsOneObjectEvenForBrokenUtf8) {
  const LogLine line = {.time_ms = 0, .level = LogLevel::kInfo, .thread = 7, .message = "\"\n\xff"};
  EXPECT_EQ(FormatLogLine(LogFormat::kJson, line),
            "{\"time\":\"1970-01-01T00:00:00.000Z\",\"level\":\"info\",\"thread\":7,"
            "\"message\":\"\\\"\\n\xEF\xBF\xBD\"}");
}

}  // namespace
}  // namespace mqd::server
