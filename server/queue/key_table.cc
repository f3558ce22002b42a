#include "server/queue/key_table.h"

namespace mqd::queue {

std::uint64_t HashOfKey(std::string_view name) {
  std::uint64_t hash = 0xCBF29CE484222325ull;
  for (const char c : name) {
    hash ^= static_cast<std::uint8_t>(c);
    hash *= 0x100000001B3ull;
  }
  return hash;
}

std::uint64_t KeyScore(std::uint64_t key_hash, ConsumerId consumer) {
  // The finaliser of SplitMix64 (G. Steele, D. Lea, C. Flood, "Fast splittable pseudorandom number
  // generators", OOPSLA 2014).
  std::uint64_t mixed = key_hash ^ (consumer * 0x9E3779B97F4A7C15ull);
  mixed = (mixed ^ (mixed >> 30)) * 0xBF58476D1CE4E5B9ull;
  mixed = (mixed ^ (mixed >> 27)) * 0x94D049BB133111EBull;
  return mixed ^ (mixed >> 31);
}

KeyState& KeyTable::Get(std::string_view name) {
  const auto found = keys_.find(name);
  if (found != keys_.end()) return *found->second;
  auto key = std::make_unique<KeyState>();
  key->name = name;
  key->hash = HashOfKey(name);
  const std::string_view own = key->name;
  return *keys_.emplace(own, std::move(key)).first->second;
}

const KeyState* KeyTable::Find(std::string_view name) const {
  const auto found = keys_.find(name);
  return found == keys_.end() ? nullptr : found->second.get();
}

void KeyTable::DropIfIdle(KeyState& key) {
  if (key.busy > 0 || key.rows > 0) return;
  keys_.erase(std::string_view(key.name));
}

void KeyTable::DropAllIdle() {
  absl::erase_if(
      keys_, [](const auto& entry) { return entry.second->busy == 0 && entry.second->rows == 0; });
}

}  // namespace mqd::queue
