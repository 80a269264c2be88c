#include "core/memory.h"

#include <cstdint>

#include <sys/mman.h>

namespace sluice {

std::optional<Memory> Memory::allocate(std::size_t bytes) {
  const bool large = bytes >= kHugePageBytes;
  bytes = roundUp(bytes, kPageBytes);
  const std::size_t mappedBytes = large ? bytes + kHugePageBytes : bytes;
  void* mapped = mmap(nullptr, mappedBytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  if (mapped == MAP_FAILED) return std::nullopt;
  auto* base = static_cast<std::byte*>(mapped);
  if (large) {
    // Keep the part that starts on a huge page, return what lies before and after it.
    const auto address = reinterpret_cast<std::uintptr_t>(base);
    const std::size_t before = roundUp(address, kHugePageBytes) - address;
    if (before != 0) munmap(base, before);
    base += before;
    munmap(base + bytes, kHugePageBytes - before);
  }
#if defined(MADV_HUGEPAGE)
  if (large) madvise(base, bytes, MADV_HUGEPAGE);
#endif
  return Memory(base, bytes);
}

Memory::~Memory() {
  if (base_ != nullptr) munmap(base_, bytes_);
}

}  // namespace sluice
