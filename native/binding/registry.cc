#include "binding/registry.h"

#include "binding/secret.h"

namespace sluice {

Registry& Registry::instance() {
  // Never destroyed: threads may end after the process's statics.
  static auto* registry = new Registry();
  return *registry;
}

std::string Registry::put(const std::shared_ptr<Region>& region) {
  region->handOut();
  Registry& registry = instance();
  const std::lock_guard<std::mutex> guard(registry.mutex_);
  for (auto entry = registry.regions_.begin(); entry != registry.regions_.end();) {
    const auto known = entry->second.lock();
    if (known == region) return entry->first;
    entry = known == nullptr ? registry.regions_.erase(entry) : std::next(entry);
  }
  // Random, so that a handle from another process, or from before, finds nothing here.
  std::string text;
  for (const std::uint64_t word : randomSeed()) text += std::to_string(word) + '.';
  registry.regions_.emplace(text, region);
  return text;
}

std::shared_ptr<Region> Registry::find(const std::string& text) {
  Registry& registry = instance();
  const std::lock_guard<std::mutex> guard(registry.mutex_);
  const auto entry = registry.regions_.find(text);
  return entry == registry.regions_.end() ? nullptr : entry->second.lock();
}

}  // namespace sluice
