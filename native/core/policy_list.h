// The policies of a table, as numbers, where everybody who shares the table sees them: a list that only
// grows, and the index of the one that is the limiter's own. What an algorithm makes of a policy it keeps
// itself (its Book).
#pragma once

#include <atomic>
#include <cstdint>

#include "core/member.h"
#include "core/owner_lock.h"
#include "core/units.h"

namespace sluice {

struct PolicySpec {
  std::uint64_t limit = 0;     // tokens per window, 1..2^53-1
  std::uint64_t windowNs = 0;  // 1..2^62-1; of all but buckets that of the table
  std::uint64_t burst = 0;     // token and leaky bucket: capacity, 1..2^53-1
  // Whether it is, or was, the limiter's own policy, and not a tier. When that changes, keys keep what they
  // have left; a key that moves between tiers keeps what it has spent.
  std::uint64_t isBase = 0;  // 1 or 0
  // What a key begins with of which nothing is known; 0: like any other. It is known for `rememberNs` after
  // nothing is spent any more.
  std::uint64_t initial = 0;
  std::uint64_t rememberNs = 0;
  std::uint64_t evenly = 0;  // 1: a decision says when the call may go out, so that calls are spread; or 0
  friend constexpr bool operator==(const PolicySpec&, const PolicySpec&) = default;
};

class PolicyList {
 public:
  static constexpr std::uint32_t kMax = 1024;

  struct Added {
    enum Status : std::uint8_t {
      kDone,
      kUncountable,  // the algorithm cannot represent it
      kTooMany,
      kBusy,  // a process was stopped while it added one
    };
    Status status;
    std::uint32_t index;
  };

  // Never more than kMax, whatever the memory says.
  std::uint32_t size() const {
    // Acquire: sees the policies that were counted.
    const std::uint32_t size = size_.load(std::memory_order_acquire);
    return size < kMax ? size : kMax;
  }
  // REQUIRES index < size().
  PolicySpec operator[](std::uint32_t index) const { return specs_[index]; }

  // Which one is the limiter's own.
  std::uint32_t base() const {
    // Acquire: a `size` that is read next counts this policy.
    return base_.load(std::memory_order_acquire) & (kMax - 1);
  }
  void setBase(std::uint32_t index) {
    crashPoint();
    // Release: who sees the index sees that the policy is there.
    base_.store(index, std::memory_order_release);
  }

  // The first policy, of memory that nobody else can see yet.
  void start(const PolicySpec& spec) {
    specs_[0] = spec;
    // Relaxed: making the memory known synchronises.
    size_.store(1, std::memory_order_relaxed);
  }

  // The index of that policy; appended if it is new.
  Added add(const PolicySpec& spec, const Membership& member) {
    // What the dead leave half written was not counted yet, so there is nothing to repair.
    if (lock_.acquire(member) == Acquired::kNot) return {Added::kBusy, 0};
    const Added added = addLocked(spec);
    lock_.release();
    return added;
  }

 private:
  Added addLocked(const PolicySpec& spec) {
    const std::uint32_t count = size();
    for (std::uint32_t i = 0; i < count; ++i) {
      if (specs_[i] == spec) return {Added::kDone, i};
    }
    if (count == kMax) return {Added::kTooMany, 0};
    crashPoint();
    specs_[count] = spec;
    crashPoint();
    // Release: who sees the count sees the policy.
    size_.store(count + 1, std::memory_order_release);
    return {Added::kDone, count};
  }

  OwnerLock lock_;
  std::atomic<std::uint32_t> size_;
  std::atomic<std::uint32_t> base_;
  PolicySpec specs_[kMax];
};

}  // namespace sluice
