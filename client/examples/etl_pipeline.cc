// etl_pipeline.cc: extract -> transform -> load over two bounded queues. The last stage is slow,
// and that is felt at the first one: the queues between them fill up, and the extractor waits.
//
// Nothing is lost on the way: a stage acks its input once its output is confirmed, and the output's
// idempotency key keeps a repeated input from counting twice. End of input travels along by closing
// each queue after its last message.

#include <atomic>
#include <future>
#include <thread>

#include "example.h"

namespace {

using namespace example;

constexpr int kRecords = 200;
constexpr std::uint64_t kBound = 8;

class Pipeline {
 public:
  explicit Pipeline(Broker& broker)
      : broker_(broker),
        raw_(broker.NewQueue("etl-raw", Bounded())),
        clean_(broker.NewQueue("etl-clean", Bounded())) {}

  void Run() {
    const auto load = StartLoad();
    const auto transform = StartTransform();
    Extract();
    OrFail(broker_.admin().CloseQueue(raw_).status());
    Check(raw_ended_.get_future().wait_for(kPatience) == std::future_status::ready,
          "the transformer hears of the end");
    OrFail(broker_.admin().CloseQueue(clean_).status());
    Check(clean_ended_.get_future().wait_for(kPatience) == std::future_status::ready,
          "the loader hears of the end");
    Check(loaded_ == kRecords, "every record arrived once");
    Check(sum_ == kRecords * (kRecords + 1), "and was transformed");  // of 2 i, i = 1..n
    Check(blocked_ > 0, "the extractor was held up by the loader");
    Check(fullest_ <= kBound, "no queue held more than its bound");
  }

  std::uint64_t fullest() const { return fullest_; }

 private:
  static mqd::QueueSettings Bounded() {
    mqd::QueueSettings settings;
    settings.max_messages = mqd::Limit::Of(kBound);
    settings.overflow_policy = mqd::OverflowPolicy::kBlock;
    return settings;
  }

  void Extract() {
    const auto publisher = broker_.NewPublisher(
        {.queue = raw_, .timeout = kPatience, .full_timeout = kPatience, .client_name = "extract"});
    for (int record = 1; record <= kRecords; ++record) {
      const std::string text = std::to_string(record);
      OrFail(publisher->Publish(mqd::MessageView{.payload = text, .idempotency_key = text},
                                [](const mqd::PublishResult& result) { OrFail(result.status()); }));
      if (record % 20 == 0) Measure();
    }
    OrFail(publisher->Flush(kPatience));
    blocked_ = publisher->Stats().blocked_total;
  }

  void Measure() {
    for (const std::string& queue : {raw_, clean_}) {
      const mqd::QueueStats stats = OrFail(broker_.admin().GetQueueStats(queue));
      const std::uint64_t held = stats.ready + stats.in_flight + stats.delayed + stats.parked;
      fullest_ = std::max(fullest_, held);
    }
  }

  std::unique_ptr<mqd::Consumer> StartTransform() {
    out_ = broker_.NewPublisher({.queue = clean_, .timeout = kPatience});
    return broker_.NewConsumer(
        {.queues = {{.queue = raw_}},
         .handler =
             [this](mqd::Delivery& record) {
               const std::string doubled =
                   std::to_string(2 * std::stoi(std::string(record.payload())));
               // Waits while the next queue is full; the ack of the input follows the confirm.
               OrFail(
                   out_->Publish({.payload = doubled, .idempotency_key = doubled}).get().status());
             },
         .on_end_of_queue = [this](std::string_view) { raw_ended_.set_value(); }});
  }

  std::unique_ptr<mqd::Consumer> StartLoad() {
    return broker_.NewConsumer(
        {.queues = {{.queue = clean_}},
         .handler =
             [this](mqd::Delivery& record) {
               std::this_thread::sleep_for(milliseconds(2));  // a slow database
               sum_ += std::stoi(std::string(record.payload()));
               ++loaded_;
             },
         .on_end_of_queue = [this](std::string_view) { clean_ended_.set_value(); }});
  }

  Broker& broker_;
  const std::string raw_;
  const std::string clean_;
  std::unique_ptr<mqd::Publisher> out_;
  std::promise<void> raw_ended_;
  std::promise<void> clean_ended_;
  std::atomic<int> loaded_ = 0;
  std::atomic<int> sum_ = 0;
  std::uint64_t blocked_ = 0;
  std::uint64_t fullest_ = 0;
};

}  // namespace

int main(int argc, char** argv) {
  Broker broker(argc, argv);
  Pipeline pipeline(broker);
  pipeline.Run();
  std::cout << "etl_pipeline: " << kRecords << " records through three stages; the extractor was "
            << "held up by the loader, and no queue held more than " << pipeline.fullest() << " of "
            << kBound << " messages\n";
  return 0;
}
