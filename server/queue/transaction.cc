#include "server/queue/transaction.h"

#include <algorithm>
#include <atomic>
#include <numeric>
#include <utility>

#include "proto/base/assert.h"

namespace mqd::queue {
namespace {

TransactionId NextTransactionId() {
  static std::atomic<TransactionId> next{1};
  return next.fetch_add(1, std::memory_order_relaxed);
}

/// Runs one transaction. Its steps follow each other, so nothing here is touched by two threads at
/// once.
class Transaction : public std::enable_shared_from_this<Transaction> {
 public:
  Transaction(TransactionSource source, std::vector<TransactionTarget> targets,
              absl::AnyInvocable<void(TransactionResult)> done)
      : id_(NextTransactionId()),
        source_(std::move(source)),
        targets_(std::move(targets)),
        done_(std::move(done)),
        order_(targets_.size()) {
    std::iota(order_.begin(), order_.end(), std::size_t{0});
    std::sort(order_.begin(), order_.end(), [this](std::size_t a, std::size_t b) {
      return targets_[a].queue->id() < targets_[b].queue->id();
    });
    result_.publishes.resize(targets_.size());
  }

  void PrepareNext() {
    if (prepared_ == order_.size()) return CommitAtSource();
    TransactionTarget& target = targets_[order_[prepared_]];
    target.queue->Prepare(
        {id_, std::move(target.batch), target.bypass_dedup, std::move(target.origins)},
        [self = shared_from_this()](TransactionPrepared prepared) {
          self->OnPrepared(std::move(prepared));
        });
  }

 private:
  void OnPrepared(TransactionPrepared prepared) {
    result_.publishes[order_[prepared_]] = std::move(prepared.results);
    if (!prepared.accepted) return Finish(false);
    ++prepared_;
    parts_.Append(std::move(prepared.part));
    flush_ = flush_ || prepared.flush;
    PrepareNext();
  }

  void CommitAtSource() {
    source_.queue->Commit({id_, std::move(source_.entries), std::move(source_.leaving),
                           std::move(source_.diverted), std::move(parts_), flush_},
                          [self = shared_from_this()](QueueActor::CommitOutcome outcome) {
                            self->OnCommitted(std::move(outcome));
                          });
  }

  void OnCommitted(QueueActor::CommitOutcome outcome) {
    result_.settle = std::move(outcome.result);
    result_.refused_at_source =
        !outcome.committed && !outcome.unknown && !outcome.error.has_value();
    if (!outcome.unknown) {
      result_.error = std::move(outcome.error);
      return Finish(outcome.committed);
    }
    for (const TransactionTarget& target : targets_) target.queue->Rebuild();
    result_.error =
        ErrorInfo{.reason = Reason::kOutcomeUnknown,
                  .resource = "queue " + source_.queue->name(),
                  .message = "the outcome of the atomic request is unknown; receive and try again"};
    done_(std::move(result_));
  }

  /// Tells the targets that have prepared, and then the caller.
  void Finish(bool committed) {
    for (std::size_t i = 0; i < prepared_; ++i) {
      targets_[order_[i]].queue->End({id_, committed});
    }
    result_.committed = committed;
    if (!committed) UndoResults();
    done_(std::move(result_));
  }

  /// Nothing was stored: messages that were not to blame must not look published.
  void UndoResults() {
    for (auto& results : result_.publishes) {
      for (auto& result : results) {
        if (std::holds_alternative<ErrorInfo>(result)) continue;
        if (result_.error.has_value()) {
          result = *result_.error;
          continue;
        }
        result = ErrorInfo{.reason = Reason::kBadField,
                           .resource = "field publishes",
                           .message =
                               "not published: the atomic request was refused for another "
                               "of its entries, and nothing of it took effect"};
      }
    }
  }

  const TransactionId id_;
  TransactionSource source_;
  std::vector<TransactionTarget> targets_;
  absl::AnyInvocable<void(TransactionResult)> done_;
  std::vector<std::size_t> order_;  // of targets, by queue id
  std::size_t prepared_ = 0;
  storage::Batch parts_;
  bool flush_ = false;
  TransactionResult result_;
};

}  // namespace

ErrorInfo WhyRefused(const TransactionResult& result) {
  if (result.error.has_value()) return *result.error;
  for (const auto& [range, error] : result.settle.exceptions) return error;
  for (const auto& target : result.publishes) {
    for (const auto& publish : target) {
      if (const auto* error = std::get_if<ErrorInfo>(&publish)) return *error;
    }
  }
  return {.message = "nothing of the request took effect"};
}

void RunTransaction(TransactionSource source, std::vector<TransactionTarget> targets,
                    absl::AnyInvocable<void(TransactionResult)> done) {
  MQD_ASSERT(source.queue != nullptr);
  std::make_shared<Transaction>(std::move(source), std::move(targets), std::move(done))
      ->PrepareNext();
}

}  // namespace mqd::queue
