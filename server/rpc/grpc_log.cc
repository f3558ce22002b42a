#include "server/rpc/grpc_log.h"

#include <cstring>

#include "grpc/support/log.h"
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

void Write(gpr_log_func_args* args) {
  const char* slash = std::strrchr(args->file, '/');
  spdlog::log(LevelOf(args->severity), "grpc: {}:{}: {}", slash == nullptr ? args->file : slash + 1,
              args->line, args->message);
}

}  // namespace

GrpcLog::GrpcLog() { gpr_set_log_function(Write); }
GrpcLog::~GrpcLog() { gpr_set_log_function(nullptr); }

}  // namespace mqd::rpc
