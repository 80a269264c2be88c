// Memory of this process alone. With shared_memory.cc the only place that asks the operating system for
// memory.
#pragma once

#include <cstddef>
#include <optional>
#include <utility>

namespace sluice {

// Tables that span more than this sit on huge pages where the system offers them: a table is read at random,
// and most of such a read's cost is otherwise the address translation.
inline constexpr std::size_t kHugePageBytes = std::size_t{2} << 20;
inline constexpr std::size_t kPageBytes = 4096;

constexpr std::size_t roundUp(std::size_t value, std::size_t step) {
  return (value + step - 1) / step * step;
}

// Zeroed, page-aligned memory, taken once and given back whole.
class Memory {
 public:
  static std::optional<Memory> allocate(std::size_t bytes);

  Memory(Memory&& other) noexcept
      : base_(std::exchange(other.base_, nullptr)), bytes_(std::exchange(other.bytes_, 0)) {}
  Memory& operator=(Memory&&) = delete;
  Memory(const Memory&) = delete;
  Memory& operator=(const Memory&) = delete;
  ~Memory();

  std::byte* base() const { return base_; }
  std::size_t bytes() const { return bytes_; }

 private:
  Memory(std::byte* base, std::size_t bytes) : base_(base), bytes_(bytes) {}
  std::byte* base_;
  std::size_t bytes_;
};

}  // namespace sluice
