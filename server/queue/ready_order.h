#pragma once

// ready_order.h: step 3 of 5 (queue). Where each ready message stands: with the plain ones of its
// chunk, in a lane for anybody, in a lane of one consumer (STICKY, or KEYED behind others of its
// key that the consumer has), or in line behind others of its ordering key (KEYED).
//
// Threads: One at a time.
// Limits: Those of the tables; OwnersChanged() and Reindex() walk all keys or rows.

#include "server/queue/queue_core_data.h"

namespace mqd::queue {

class ReadyOrder : protected QueueData {
 protected:
  using QueueData::QueueData;

  /// A row of held_ that became ready, or waits for its retry, takes its place.
  void Place(Sequence sequence, Held& held);
  void Unplace(Sequence sequence, const Held& held);
  /// Out of the tables; the key goes with its last message, unless it is busy.
  Held TakeHeld(Sequence sequence);

  /// A message of the key is handed over as delivery `id`.
  void KeyFlies(KeyState& key, Sequence sequence, DeliveryId id, ConsumerId consumer);
  /// It was settled, or is given back: its key is busy until the open commit is on disk.
  void KeyLands(const FlightRun& run);
  /// It comes back: what the consumer got behind it is to come back too (behind_).
  void KeyBreaks(KeyState& key, Sequence sequence, DeliveryId id, ConsumerId consumer);
  /// One message of the key is at work no more, and that is written.
  void FreeKey(KeyState& key);
  /// Consumers came or went: keys look for their owners.
  void OwnersChanged();
  /// After ordering or dispatch_policy changed.
  void Reindex();

  /// Lanes that have something begin to age, the others stop.
  void ObserveLanes();

  /// After messages of `chunk` were delivered, held or settled.
  void RefreshFresh(const Chunk& chunk);

  /// Of a message that heeds one; else null.
  KeyState* KeyOf(const Chunk& chunk, std::uint32_t index);

 private:
  void UpdateKey(KeyState& key);
  /// Whether who has messages of the key may get the next one too.
  bool MayFollow(const KeyState& key) const;
  ReadyLanes& LanesOf(ConsumerId owner);
  /// Keys count from now on, also those of messages that this commit settles or gives back.
  void HeedKeys(Commit& commit);
  void ChooseOwner(KeyState& key);
};

}  // namespace mqd::queue
