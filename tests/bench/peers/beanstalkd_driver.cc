// beanstalkd_driver.cc: beanstalkd over a socket; it has no usual C library. Puts, reserves and
// deletes are pipelined.
//
// Confirm: INSERTED, which `-f 0` sends after the fsync.

#include <arpa/inet.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cerrno>
#include <cstdlib>

#include "tests/bench/peers/harness.h"

namespace mqd::bench {
namespace {

constexpr std::size_t kReadBytes = 1U << 18;
constexpr std::chrono::microseconds kConsumeWait{20'000};

/// One connection; text is gathered and sent in one piece.
class Connection {
 public:
  explicit Connection(const HostPort& at) : socket_(socket(AF_INET, SOCK_STREAM, 0)) {
    sockaddr_in address{};
    address.sin_family = AF_INET;
    address.sin_port = htons(static_cast<std::uint16_t>(at.port));
    if (inet_pton(AF_INET, at.host.c_str(), &address.sin_addr) != 1) Die("not an IPv4 address");
    if (connect(socket_, reinterpret_cast<const sockaddr*>(&address), sizeof address) != 0) {
      Die("cannot connect to beanstalkd");
    }
    const int yes = 1;
    setsockopt(socket_, IPPROTO_TCP, TCP_NODELAY, &yes, sizeof yes);
  }
  ~Connection() { close(socket_); }
  Connection(const Connection&) = delete;
  Connection& operator=(const Connection&) = delete;

  Connection& operator<<(std::string_view text) {
    out_.append(text);
    return *this;
  }

  void Send() {
    std::string_view rest = out_;
    while (!rest.empty()) {
      const ssize_t sent = send(socket_, rest.data(), rest.size(), MSG_NOSIGNAL);
      if (sent < 0 && errno == EINTR) continue;
      if (sent < 0) Die("beanstalkd has closed the connection");
      rest.remove_prefix(static_cast<std::size_t>(sent));
    }
    out_.clear();
  }

  /// Whether a line, or a part of one, has come within that time. Sends what was gathered first.
  bool Poll(std::chrono::microseconds wait) {
    if (buffered()) return true;
    Send();
    return Readable(socket_, wait);
  }
  bool buffered() const { return begin_ < in_.size(); }

  /// Without its end; valid until the next call.
  std::string_view Line() {
    std::size_t end = 0;
    while ((end = in_.find("\r\n", begin_)) == std::string::npos) Read();
    const std::string_view line(in_.data() + begin_, end - begin_);
    begin_ = end + 2;
    return line;
  }

  /// A body of that size and its end; valid until the next call.
  std::string_view Body(std::size_t size) {
    while (in_.size() - begin_ < size + 2) Read();
    const std::string_view body(in_.data() + begin_, size);
    begin_ += size + 2;
    return body;
  }

 private:
  void Read() {
    in_.erase(0, begin_);
    begin_ = 0;
    const std::size_t before = in_.size();
    in_.resize(before + kReadBytes);
    const ssize_t got = read(socket_, in_.data() + before, kReadBytes);
    if (got < 0 && errno != EINTR) Die("cannot read from beanstalkd");
    if (got == 0) Die("beanstalkd has closed the connection");
    in_.resize(before + static_cast<std::size_t>(std::max<ssize_t>(got, 0)));
  }

  const int socket_;
  std::string out_;
  std::string in_;
  std::size_t begin_ = 0;
};

class BeanstalkdDriver final : public Driver {
 public:
  explicit BeanstalkdDriver(const Options& options) : options_(options) {}

  std::uint32_t Window(const Options& options) const override {
    return options.size <= 16'384 ? 64 : 16;
  }
  void MakeQueues(const std::vector<std::string>&) override {}
  void DeleteQueues(const std::vector<std::string>&) override {}

  void Produce(Source& source, const std::vector<std::string>& queues) override {
    Connection connection(ParseAddress(options_.address));
    const std::size_t window = options_.window > 0 ? options_.window : Window(options_);
    if (queues.size() == 1) Use(connection, queues[0]);
    const std::string head = "put 0 0 120 " + std::to_string(options_.size) + "\r\n";
    source.AwaitStart();
    std::uint32_t next_confirm = 0;
    while (source.active()) {
      const auto wait = source.PublishDue(window, window, [&](const Source::Message& message) {
        if (queues.size() > 1) {
          connection << "use " << queues[message.number % queues.size()] << "\r\n";
        }
        connection << head << message.payload << "\r\n";
      });
      for (bool some = connection.Poll(wait); some; some = connection.buffered()) {
        const std::string_view line = connection.Line();
        if (line.starts_with("USING ")) continue;
        if (!line.starts_with("INSERTED ")) Die("beanstalkd refused a put");
        source.Confirmed(next_confirm++);
      }
    }
  }

  /// Keeps some reserves open. Each answer is followed by its delete and the next reserve; with a
  /// rate there is one, since a delete would wait behind those that nothing has come for.
  void Consume(Sink& sink, const std::vector<std::string>& queues) override {
    Connection connection(ParseAddress(options_.address));
    for (const std::string& queue : queues) Watch(connection, queue);
    sink.Ready();
    const int depth = options_.rate > 0 ? 1 : 64;
    for (int i = 0; i < depth; ++i) connection << "reserve\r\n";
    connection.Send();
    while (sink.open()) {
      if (!connection.Poll(kConsumeWait)) continue;
      const std::string_view line = connection.Line();
      if (line.starts_with("RESERVED ")) {
        Take(sink, connection, line);
      } else if (line != "DELETED" && line != "DEADLINE_SOON") {
        Die("beanstalkd answered " + std::string(line));
      }
    }
  }

 private:
  static void Use(Connection& connection, const std::string& queue) {
    (connection << "use " << queue << "\r\n").Send();
    if (!connection.Line().starts_with("USING ")) Die("beanstalkd refused a tube");
  }

  static void Watch(Connection& connection, const std::string& queue) {
    (connection << "watch " << queue << "\r\n").Send();
    if (!connection.Line().starts_with("WATCHING ")) Die("beanstalkd refused a tube");
  }

  /// RESERVED id bytes, and then the body.
  static void Take(Sink& sink, Connection& connection, std::string_view line) {
    line.remove_prefix(std::string_view("RESERVED ").size());
    const std::size_t space = line.find(' ');
    const std::string id(line.substr(0, space));
    const std::size_t size =
        std::strtoull(std::string(line.substr(space + 1)).c_str(), nullptr, 10);
    sink.Got(connection.Body(size));
    connection << "delete " << id << "\r\nreserve\r\n";
  }

  const Options options_;
};

}  // namespace
}  // namespace mqd::bench

int main(int argc, char** argv) {
  return mqd::bench::DriverMain(argc, argv, "beanstalkd", [](const mqd::bench::Options& options) {
    return std::make_unique<mqd::bench::BeanstalkdDriver>(options);
  });
}
