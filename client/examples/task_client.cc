// task_client.cc: a client that submits tasks under idempotency keys. It may submit as often as it
// likes, after a timeout or a crash: the task is stored once, and the answer is the same. A key
// that is used for another task is a mistake, and is refused.

#include <map>

#include "example.h"

namespace {

using namespace example;

class TaskClient {
 public:
  TaskClient(Broker& broker, const std::string& queue)
      : publisher_(broker.NewPublisher({.queue = queue})) {}

  mqd::PublishResult Submit(const std::string& key, const std::string& task) {
    return publisher_->Publish({.payload = task, .idempotency_key = key}).get();
  }

 private:
  std::unique_ptr<mqd::Publisher> publisher_;
};

}  // namespace

int main(int argc, char** argv) {
  Broker broker(argc, argv);
  mqd::QueueSettings settings;
  settings.dedup_window = std::chrono::minutes(10);
  const std::string queue = broker.NewQueue("tasks", settings);
  TaskClient tasks(broker, queue);

  // Submitted twice, before and after it was done: stored once.
  const mqd::PublishOutcome first = OrFail(tasks.Submit("invoice-7", "send invoice 7"));
  Check(first.kind == mqd::PublishOutcome::Kind::kPublished, "a new key is stored");
  const mqd::PublishOutcome again = OrFail(tasks.Submit("invoice-7", "send invoice 7"));
  Check(again.kind == mqd::PublishOutcome::Kind::kDuplicate, "a known key is a duplicate");
  Check(again.sequence == first.sequence, "of the first");
  Check(again.status == mqd::MessageStatus::kReady, "which waits");

  // The same key for something else.
  const mqd::PublishResult conflict = tasks.Submit("invoice-7", "send invoice 8");
  Check(mqd::ReasonOf(conflict.status()) == mqd::Reason::kIdempotencyConflict,
        "a key stands for one task");

  OrFail(tasks.Submit("invoice-8", "send invoice 8").status());
  std::map<std::string, int> done;
  for (const std::string& task : broker.Take(queue, 2)) ++done[task];
  Check(done == std::map<std::string, int>{{"send invoice 7", 1}, {"send invoice 8", 1}},
        "each task was done once");
  Check(OrFail(broker.admin().GetQueueStats(queue)).ready == 0, "nothing is left");

  const mqd::PublishOutcome late = OrFail(tasks.Submit("invoice-7", "send invoice 7"));
  Check(late.kind == mqd::PublishOutcome::Kind::kDuplicate, "the key is known after the work");
  Check(late.status == mqd::MessageStatus::kSettled, "and says that it is done");

  // What the queue remembers can be looked at, and forgotten on purpose.
  Check(OrFail(broker.admin().GetDedupEntry(queue, "invoice-7")).sequence == first.sequence,
        "the key stands for the first message");
  OrFail(broker.admin().ForgetDedupEntry(queue, "invoice-7"));
  const mqd::PublishOutcome anew = OrFail(tasks.Submit("invoice-7", "send invoice 7"));
  Check(anew.kind == mqd::PublishOutcome::Kind::kPublished, "a forgotten key is new");
  std::cout << "task_client: a task submitted three times was done once; the same key for another "
               "task was refused\n";
  return 0;
}
