#pragma once

// body_reader.h: the store's reader thread: does what it is given, one after the other, in order.
//
// Threads: Post(): any, also from inside a task. Tasks: the reader thread.
// Ownership: The destructor runs what was posted before it began, then joins the thread.
// Limits: None of its own: callers ask for one body a chunk and hold back by their memory
// budget.

#include <condition_variable>
#include <thread>
#include <vector>

#include "absl/functional/any_invocable.h"
#include "proto/base/mutex.h"

namespace mqd::storage {

class BodyReader {
 public:
  using Task = absl::AnyInvocable<void()>;

  BodyReader();
  ~BodyReader();
  BodyReader(const BodyReader&) = delete;
  BodyReader& operator=(const BodyReader&) = delete;

  void Post(Task task);

 private:
  void Run();

  base::Mutex mutex_;
  std::condition_variable work_;
  std::vector<Task> tasks_ ABSL_GUARDED_BY(mutex_);
  bool stopping_ ABSL_GUARDED_BY(mutex_) = false;

  std::thread thread_;  // last: it uses all of the above
};

}  // namespace mqd::storage
