#pragma once

// admin_call.h: one call of the AdminService, for the files that implement Admin.
//
// Threads:   any.
// Limits:    ClientOptions::call_timeout.

#include <string>
#include <string_view>

#include "absl/status/statusor.h"
#include "client/connection.h"
#include "client/convert.h"
#include "client/unary.h"

namespace mqd::client {

using AdminStub = v1::AdminService::Stub;

/// Runs one call; the response, or the status of its failure.
template <class Response, class Request>
absl::StatusOr<Response> AdminCall(Connection& connection, const Request& request,
                                   grpc::Status (AdminStub::*method)(grpc::ClientContext*,
                                                                     const Request&, Response*)) {
  UnaryCall call(connection.options().call_timeout);
  Response response;
  absl::Status status = StatusOf((connection.admin().*method)(call.context(), request, &response));
  if (!status.ok()) return status;
  return response;
}

/// A request that names a queue or a namespace in `name`.
template <class Request>
Request Named(std::string_view name) {
  Request request;
  request.set_name(std::string(name));
  return request;
}

/// A request that names a queue in `queue`.
template <class Request>
Request OfQueue(std::string_view queue) {
  Request request;
  request.set_queue(std::string(queue));
  return request;
}

}  // namespace mqd::client
