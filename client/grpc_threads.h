#pragma once

// grpc_threads.h: keeps gRPC's callback threads for the life of the process.
//
// gRPC 1.51 starts them with the first callback call and ends them with the last channel that made
// one. The end is unsound: a thread may still hold the shared completion queue whose count has
// reached zero, and the process aborts ("assertion failed: prior > 0"). One reference that is never
// given back avoids it.
//
// Threads: any.
// Limits: one channel without a connection, a few hundred bytes.

namespace mqd::client {

void KeepGrpcThreads();

}  // namespace mqd::client
