#pragma once

// grpc_log.h: what gRPC itself has to say becomes lines of our log, as long as this lives. Which of
// it is said at all is decided by GRPC_VERBOSITY; unless that is set, errors only.
//
// Threads: construct and destroy while no other thread uses gRPC. Lines come from any.
// Limits: one at a time in a process.

namespace mqd::rpc {

class GrpcLog {
 public:
  GrpcLog();
  ~GrpcLog();
  GrpcLog(const GrpcLog&) = delete;
  GrpcLog& operator=(const GrpcLog&) = delete;
};

}  // namespace mqd::rpc
