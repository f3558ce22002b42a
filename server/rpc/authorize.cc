#include "server/rpc/authorize.h"

namespace mqd::rpc {

const char* ToString(Action action) {
  switch (action) {
    case Action::kPublish:
      return "publish";
    case Action::kConsume:
      return "consume";
    case Action::kSettle:
      return "settle";
    case Action::kViewQueue:
      return "view queue";
    case Action::kChangeQueue:
      return "change queue";
    case Action::kViewNode:
      return "view node";
  }
  return "";
}

absl::Status Authorizer::Authorize(const Principal&, Action, std::string_view) const {
  return absl::OkStatus();
}

}  // namespace mqd::rpc
