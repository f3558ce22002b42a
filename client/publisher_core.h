#pragma once

// publisher_core.h: what stands behind a Publisher: the window of unconfirmed messages, the link
// they go over, and the callbacks their results go to.
//
// Threads:   as Publisher says; Link::User as link.h says. Results are posted to the callback loop
//            in the order in which they were decided.
// Ownership: shared by its Publisher, its link's calls and posted callbacks; Close() ends the link.
// Limits:    PublisherOptions.

#include <atomic>
#include <memory>
#include <string>
#include <vector>

#include "client/connection.h"
#include "client/link.h"
#include "client/publish_window.h"
#include "mqd/publisher.h"
#include "proto/base/mutex.h"

namespace mqd::client {

class PublisherCore final : public Link::User, public std::enable_shared_from_this<PublisherCore> {
 public:
  static std::shared_ptr<PublisherCore> Make(std::shared_ptr<Connection> connection,
                                             PublisherOptions options);

  PublisherCore(std::shared_ptr<Connection> connection, PublisherOptions options);

  absl::Status Publish(const MessageView& message, PublishWindow::Callback callback);
  absl::Status Flush(std::chrono::milliseconds timeout);
  absl::Status Close(std::chrono::milliseconds timeout);
  absl::Status ConnectionStatus() const;
  PublisherStats Stats() const;
  const PublisherOptions& options() const { return options_; }

  std::string OpenFrame() override;
  absl::Status OnFrame(const wire::Frame& frame, const grpc::Slice& bytes) override;
  bool NextFrame(std::vector<grpc::Slice>& slices) override;
  void OnDown(const absl::Status& status, bool fatal) override;
  void OnTick(Time now) override;

 private:
  absl::Status Admit(base::MutexLock& lock, std::size_t bytes)
      ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  bool HasRoom(std::size_t bytes) const ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  bool WorthWriting() const ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  absl::Status OnOpened(std::string_view content);
  absl::Status OnConfirms(std::string_view content);
  absl::Status OnCredit(std::string_view content);
  absl::Status OnBlocked(std::string_view content);
  absl::Status OnGoAway(std::string_view content);
  /// Counts results in the turn in which they leave the window: Flush() waits for their callbacks.
  void Owe(const PublishWindow::Completions& done) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  void Deliver(PublishWindow::Completions done);
  void RunCallbacks(PublishWindow::Completions& done);
  void Post(PublishWindow::Completions done);
  void Wake();

  const std::shared_ptr<Connection> connection_;
  const PublisherOptions options_;
  const std::string producer_id_;
  std::shared_ptr<Link> link_;       // set once, before any other thread
  std::atomic<bool> silent_{false};  // closed: no callback but that of a result

  mutable base::Mutex mutex_;
  std::condition_variable changed_;
  PublishWindow window_ ABSL_GUARDED_BY(mutex_);
  std::size_t payload_bytes_max_ ABSL_GUARDED_BY(mutex_) = 16U << 20;
  std::size_t batch_messages_max_ ABSL_GUARDED_BY(mutex_) = 1'024;
  std::uint32_t waiters_ ABSL_GUARDED_BY(mutex_) = 0;
  std::uint64_t posted_ ABSL_GUARDED_BY(mutex_) = 0;  // batches of results
  std::uint64_t called_ ABSL_GUARDED_BY(mutex_) = 0;  // of which the callbacks have run
  bool closed_ ABSL_GUARDED_BY(mutex_) = false;
  absl::Status blocked_ ABSL_GUARDED_BY(mutex_);  // why messages wait at the broker
  bool going_away_ ABSL_GUARDED_BY(mutex_) = false;
  absl::Status failed_ ABSL_GUARDED_BY(mutex_);
  PublisherStats stats_ ABSL_GUARDED_BY(mutex_);
};

}  // namespace mqd::client
