#pragma once

// client_stream.h: where the client library's streams (client/frame_stream.h) lead in a simulated
// run.
//
// Threads:   one.
// Ownership: the network outlives every stream.
// Limits:    one network at a time.

#include "tests/simulation/network.h"

namespace mqd::simulation {

/// Null: there is none.
void SetClientNetwork(Network* network);

}  // namespace mqd::simulation
