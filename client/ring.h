#pragma once

// ring.h: a queue in one block of memory that grows by doubling and is indexed from its front; a
// deque without an allocation every few elements.
//
// Threads:   one at a time.
// Limits:    its user's.

#include <cstddef>
#include <utility>
#include <vector>

#include "proto/base/assert.h"

namespace mqd::client {

template <class T>
class Ring {
 public:
  std::size_t size() const { return size_; }
  bool empty() const { return size_ == 0; }
  T& operator[](std::size_t index) { return slots_[(front_ + index) & (slots_.size() - 1)]; }
  T& front() { return slots_[front_]; }

  /// The new last element, as a default-made or formerly used T was left.
  T& PushBack() {
    if (size_ == slots_.size()) Grow();
    return (*this)[size_++];
  }

  void PopFront() {
    MQD_ASSERT(size_ > 0);
    front_ = (front_ + 1) & (slots_.size() - 1);
    --size_;
  }

 private:
  void Grow() {
    std::vector<T> larger(slots_.empty() ? kFirst : slots_.size() * 2);
    for (std::size_t i = 0; i < size_; ++i) larger[i] = std::move((*this)[i]);
    slots_ = std::move(larger);
    front_ = 0;
  }

  static constexpr std::size_t kFirst = 64;  // a power of two, as every size
  std::vector<T> slots_;
  std::size_t front_ = 0;
  std::size_t size_ = 0;
};

}  // namespace mqd::client
