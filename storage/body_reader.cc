#include "storage/body_reader.h"

#include <pthread.h>

#include <utility>

namespace mqd::storage {

BodyReader::BodyReader() {
  thread_ = std::thread([this] {
    pthread_setname_np(pthread_self(), "mqd-reader");
    Run();
  });
}

BodyReader::~BodyReader() {
  {
    base::MutexLock lock(mutex_);
    stopping_ = true;
  }
  work_.notify_one();
  thread_.join();
}

void BodyReader::Post(Task task) {
  {
    base::MutexLock lock(mutex_);
    tasks_.push_back(std::move(task));
  }
  work_.notify_one();
}

void BodyReader::Run() {
  std::vector<Task> taken;
  for (;;) {
    {
      base::MutexLock lock(mutex_);
      while (tasks_.empty()) {
        if (stopping_) return;
        lock.Wait(work_);
      }
      taken.swap(tasks_);
    }
    for (Task& task : taken) task();
    taken.clear();
  }
}

}  // namespace mqd::storage
