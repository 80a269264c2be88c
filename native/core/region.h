// The one place that asks the operating system for memory.
#pragma once

#include <cstddef>
#include <optional>
#include <utility>

namespace sluice {

// Zeroed, page-aligned memory, taken once and given back whole. Large regions sit on huge pages where the
// system offers them: a table is read at random, and most of such a read's cost is otherwise the address
// translation.
class Region {
 public:
  static std::optional<Region> allocate(std::size_t bytes);

  Region(Region&& other) noexcept
      : base_(std::exchange(other.base_, nullptr)), bytes_(std::exchange(other.bytes_, 0)) {}
  Region& operator=(Region&&) = delete;
  Region(const Region&) = delete;
  Region& operator=(const Region&) = delete;
  ~Region();

  std::byte* base() const { return base_; }
  std::size_t bytes() const { return bytes_; }

 private:
  Region(std::byte* base, std::size_t bytes) : base_(base), bytes_(bytes) {}
  std::byte* base_;
  std::size_t bytes_;
};

}  // namespace sluice
