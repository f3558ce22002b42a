#include "server/rpc/grpc_log.h"

#include <cstring>

#include "google/protobuf/stubs/logging.h"
#include "grpc/support/log.h"
#include "server/rpc/log_brake.h"
#include "spdlog/spdlog.h"

namespace mqd::rpc {
namespace {

spdlog::level::level_enum LevelOf(gpr_log_severity severity) {
  switch (severity) {
    case GPR_LOG_SEVERITY_DEBUG:
      return spdlog::level::debug;
    case GPR_LOG_SEVERITY_INFO:
      return spdlog::level::info;
    case GPR_LOG_SEVERITY_ERROR:
      break;
  }
  // Mostly what a client has done wrong; nothing of ours is lost by it.
  return spdlog::level::warn;
}

void Write(spdlog::level::level_enum level, const char* library, const char* file, int line,
           std::string_view text) {
  static LogBrake& brake = *new LogBrake;  // lines come until the process has ended
  const auto left_out = brake.Pass(file, line, LogBrake::Clock::now());
  if (!left_out.has_value()) return;
  const char* slash = std::strrchr(file, '/');
  spdlog::log(level, "{}: {}:{}: {}{}", library, slash == nullptr ? file : slash + 1, line, text,
              *left_out > 0 ? fmt::format(" ({} more of these not shown)", *left_out) : "");
}

void WriteOfGrpc(gpr_log_func_args* args) {
  Write(LevelOf(args->severity), "grpc", args->file, args->line, args->message);
}

/// Bytes that are not what they should be; whoever sent them is told so by a status.
void WriteOfProtobuf(google::protobuf::LogLevel, const char* file, int line,
                     const std::string& text) {
  Write(spdlog::level::warn, "protobuf", file, line, text);
}

}  // namespace

GrpcLog::GrpcLog() {
  gpr_set_log_function(WriteOfGrpc);
  google::protobuf::SetLogHandler(WriteOfProtobuf);
}

GrpcLog::~GrpcLog() {
  google::protobuf::SetLogHandler(nullptr);
  gpr_set_log_function(nullptr);
}

}  // namespace mqd::rpc
