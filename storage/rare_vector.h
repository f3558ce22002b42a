#pragma once

// rare_vector.h: a vector that nearly always is empty, and then costs one pointer.
//
// Threads: as std::vector.
// Limits: those of std::vector.

#include <cstddef>
#include <initializer_list>
#include <memory>
#include <utility>
#include <vector>

namespace mqd::storage {

template <class T>
class RareVector {
 public:
  using value_type = T;
  using const_iterator = typename std::vector<T>::const_iterator;

  RareVector() = default;
  RareVector(std::vector<T> items) {  // implicit, as the other way is
    if (!items.empty()) items_ = std::make_unique<std::vector<T>>(std::move(items));
  }
  RareVector(std::initializer_list<T> items) : RareVector(std::vector<T>(items)) {}
  RareVector(const RareVector& other) : RareVector(other.view()) {}
  RareVector(RareVector&&) noexcept = default;
  RareVector& operator=(const RareVector& other) {
    if (this != &other) *this = RareVector(other);
    return *this;
  }
  RareVector& operator=(RareVector&&) noexcept = default;
  ~RareVector() = default;

  operator std::vector<T>() const& { return view(); }
  operator std::vector<T>() && { return items_ ? std::move(*items_) : std::vector<T>(); }

  bool empty() const { return items_ == nullptr || items_->empty(); }
  std::size_t size() const { return view().size(); }
  const_iterator begin() const { return view().begin(); }
  const_iterator end() const { return view().end(); }
  const T& front() const { return view().front(); }
  T& front() { return items_->front(); }
  const T& back() const { return view().back(); }

  void push_back(T item) {
    if (items_ == nullptr) items_ = std::make_unique<std::vector<T>>();
    items_->push_back(std::move(item));
  }
  void clear() { items_.reset(); }
  void pop_front() { items_->erase(items_->begin()); }

  bool operator==(const RareVector& other) const { return view() == other.view(); }

 private:
  const std::vector<T>& view() const {
    static const std::vector<T> kNone;
    return items_ ? *items_ : kNone;
  }

  std::unique_ptr<std::vector<T>> items_;  // null: empty
};

}  // namespace mqd::storage
