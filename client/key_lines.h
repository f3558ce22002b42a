#pragma once

// key_lines.h: deliveries of one ordering_key go to handlers one after the other, in the order in
// which they came. Pure: no clock, thread, network.
//
// One message of a key is out: in the buffer, or with a handler. The others wait in the key's line.
// A key from which a message was given back (retry, release) is held until the broker has answered
// that: the broker takes back what it sent behind it, and says so before it answers.
//
// Threads:   one at a time.
// Limits:    as many lines as keys among the deliveries that are here.

#include <cstdint>
#include <list>
#include <optional>
#include <string>

#include "absl/container/btree_map.h"
#include "client/delivery_piece.h"

namespace mqd::client {

class KeyLines {
 public:
  /// Names the line of the piece's key; empty when it has none, and then it waits for nobody.
  static std::string NameOf(const DeliveryPiece& piece);

  /// Whether the piece, which has a line, may go to a handler now; otherwise it has been put in
  /// line.
  bool Enter(const std::string& name, const DeliveryPiece& piece);
  /// The one that was out is done with, or lost. Gives who is next, who is out then.
  std::optional<DeliveryPiece> Leave(const std::string& name);

  /// Nobody follows before as many calls of Unhold().
  void Hold(const std::string& name) { ++lines_[name].holds; }
  std::optional<DeliveryPiece> Unhold(const std::string& name);
  /// No answers will come.
  void DropHolds();

  /// Takes those out of their lines of which `unwanted` is true.
  template <class F>
  void DropIf(F unwanted) {
    for (auto& [name, line] : lines_) line.waiting.remove_if(unwanted);
  }
  /// Forgets lines that have come to nothing, after DropIf() and DropHolds(); calls `next` with
  /// whoever is out from now on.
  template <class F>
  void Settle(F next) {
    for (auto line = lines_.begin(); line != lines_.end();) {
      if (auto piece = Advance(line->second)) next(*std::move(piece));
      if (line->second.idle()) {
        line = lines_.erase(line);
      } else {
        ++line;
      }
    }
  }
  template <class F>
  void ForEach(F visit) {
    for (auto& [name, line] : lines_) {
      for (DeliveryPiece& piece : line.waiting) visit(piece);
    }
  }

 private:
  struct Line {
    bool out = false;
    std::uint32_t holds = 0;
    std::list<DeliveryPiece> waiting;
    bool idle() const { return !out && holds == 0 && waiting.empty(); }
  };

  static std::optional<DeliveryPiece> Advance(Line& line);

  absl::btree_map<std::string, Line> lines_;
};

}  // namespace mqd::client
