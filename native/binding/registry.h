// Private regions of this process by a text, so that a thread can hand one to another: the text travels in
// a message. Process-wide, and the only thing here that is: it must be seen by all environments.
#pragma once

#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <unordered_map>

#include "core/region.h"

namespace sluice {

class Registry {
 public:
  // What stands for the region from now on, until its last user is gone. It keeps nothing alive.
  static std::string put(const std::shared_ptr<Region>& region);
  // The region that the text stands for; null if there is none (any more), or it is of another process.
  static std::shared_ptr<Region> find(const std::string& text);

 private:
  std::mutex mutex_;
  std::unordered_map<std::string, std::weak_ptr<Region>> regions_;
  static Registry& instance();
};

}  // namespace sluice
