#pragma once

// grpc_log.h: what gRPC and Protobuf themselves have to say becomes lines of our log, as long as
// this lives; one a second from each place in them. Which of gRPC's is said at all is decided by
// GRPC_VERBOSITY; unless that is set, errors only.
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
