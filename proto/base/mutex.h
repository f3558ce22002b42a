#pragma once

// mutex.h: std::mutex with the annotations that clang's -Wthread-safety reads. Guard a member with
// ABSL_GUARDED_BY(mutex_), take the lock with MutexLock. Not absl::Mutex: the packaged library is
// built without ThreadSanitizer, which would then see races that are not there.
//
// Threads: any. Locks are never nested in mqd and nothing is called while one is held.

#include <condition_variable>
#include <mutex>

#include "absl/base/thread_annotations.h"

namespace mqd::base {

class ABSL_LOCKABLE Mutex {
 public:
  void Lock() ABSL_EXCLUSIVE_LOCK_FUNCTION() { mutex_.lock(); }
  void Unlock() ABSL_UNLOCK_FUNCTION() { mutex_.unlock(); }
  std::mutex& native() { return mutex_; }

 private:
  std::mutex mutex_;
};

class ABSL_SCOPED_LOCKABLE MutexLock {
 public:
  explicit MutexLock(Mutex& mutex) ABSL_EXCLUSIVE_LOCK_FUNCTION(mutex) : lock_(mutex.native()) {}
  ~MutexLock() ABSL_UNLOCK_FUNCTION() {}
  MutexLock(const MutexLock&) = delete;
  MutexLock& operator=(const MutexLock&) = delete;

  /// Waits on `condition` with this lock; wakes spuriously like std::condition_variable.
  void Wait(std::condition_variable& condition) { condition.wait(lock_); }

  template <class TimePoint>
  std::cv_status WaitUntil(std::condition_variable& condition, TimePoint until) {
    return condition.wait_until(lock_, until);
  }

 private:
  std::unique_lock<std::mutex> lock_;
};

}  // namespace mqd::base
