// Who is attached to a region: one member for each limiter object of each thread of each process.
#pragma once

#include <atomic>
#include <cstdint>
#include <optional>
#include <utility>

#include "core/crash_point.h"
#include "core/shared_memory.h"

namespace sluice {

// A member's place in the region, a cache line of its own. The counts are those of everybody who ever had the
// place, so that their sum over all places never loses any; `...Before` are what they were when the present
// one came.
struct alignas(64) Member {
  // The present or last one: its number of times the place was taken 48 | left 1 | place + 1, 15. Never twice
  // the same.
  std::atomic<std::uint64_t> token;
  std::atomic<std::uint64_t> allowed, denied;
  std::atomic<std::uint64_t> allowedBefore, deniedBefore;
  std::atomic<std::uint64_t> process, processNamespace;
  std::atomic<std::uint64_t> reserved;

  static constexpr std::uint64_t kLeft = std::uint64_t{1} << 15;
  static constexpr std::uint64_t placeOf(std::uint64_t token) { return (token & (kLeft - 1)) - 1; }
};
static_assert(sizeof(Member) == 64);

// For counters that only one writes at a time: no read-modify-write instruction is needed.
template <class T>
void bump(std::atomic<T>& counter, std::int64_t by) {
  // Relaxed: a statistic, ordered with nothing.
  counter.store(counter.load(std::memory_order_relaxed) + static_cast<T>(by), std::memory_order_relaxed);
}

// A member's own view of its place; leaves when destroyed. In shared memory a place is held by a lock that
// the system takes away from the dead, so that nobody needs to be told of their end.
class Membership {
 public:
  // `memory` is null for a region of this process alone. Nothing if all places are taken.
  static std::optional<Membership> join(Member* members, std::uint32_t count, SharedMemory* memory,
                                        const Machine& machine) {
    for (std::uint32_t place = 0; place < count; ++place) {
      if (memory != nullptr && !memory->tryLock(place)) continue;
      if (const std::uint64_t token = takePlace(members[place], place, memory != nullptr); token != 0) {
        Member& member = members[place];
        // Relaxed, all: statistics.
        member.allowedBefore.store(member.allowed.load(std::memory_order_relaxed), std::memory_order_relaxed);
        member.deniedBefore.store(member.denied.load(std::memory_order_relaxed), std::memory_order_relaxed);
        member.process.store(machine.process, std::memory_order_relaxed);
        member.processNamespace.store(machine.processNamespace, std::memory_order_relaxed);
        return Membership(members, count, memory, place, token);
      }
      if (memory != nullptr) memory->unlock(place);
    }
    return std::nullopt;
  }

  Membership(Membership&& other) noexcept
      : members_(std::exchange(other.members_, nullptr)),
        count_(other.count_),
        memory_(other.memory_),
        place_(other.place_),
        token_(other.token_) {}
  Membership& operator=(Membership&&) = delete;
  Membership(const Membership&) = delete;
  Membership& operator=(const Membership&) = delete;
  ~Membership() {
    if (members_ == nullptr) return;
    // Release: who takes the place sees the last counts.
    self().token.store(token_ | Member::kLeft, std::memory_order_release);
    crashPoint();
    if (memory_ != nullptr) memory_->unlock(place_);
  }

  std::uint64_t token() const { return token_; }
  Member& self() const { return members_[place_]; }

  // Whether the member of that token has died, so that what it locked may be taken. What is no token counts
  // as dead.
  bool isGone(std::uint64_t token) const {
    if (token == token_) return false;
    const std::uint64_t place = Member::placeOf(token);
    if (place >= count_) return true;
    if (memory_ == nullptr) return false;  // threads do not die alone
    // Acquire: whoever took the place did so after its last holder's end.
    if (members_[place].token.load(std::memory_order_acquire) != token) return true;
    return !memory_->isLockedByOther(static_cast<unsigned>(place));
  }

  // Whether others may stop for long while this one goes on: not if all are threads of one process.
  bool isAmongProcesses() const { return memory_ != nullptr; }

 private:
  Membership(Member* members, std::uint32_t count, SharedMemory* memory, std::uint32_t place,
             std::uint64_t token)
      : members_(members), count_(count), memory_(memory), place_(place), token_(token) {}

  // The new token, or 0 if a thread of this process has the place. `isOurs`: the system has given it to us.
  static std::uint64_t takePlace(Member& member, std::uint32_t place, bool isOurs) {
    // Relaxed: the exchange synchronises.
    std::uint64_t last = member.token.load(std::memory_order_relaxed);
    if (!isOurs && last != 0 && (last & Member::kLeft) == 0) return 0;
    const std::uint64_t token = ((last >> 16) + 1) << 16 | (place + 1);
    crashPoint();
    // Acq_rel: sees the last one's counts; who sees the token takes the last one for gone. Failure relaxed:
    // the place was taken by another thread.
    const bool taken = member.token.compare_exchange_strong(last, token, std::memory_order_acq_rel,
                                                            std::memory_order_relaxed);
    return taken ? token : 0;
  }

  Member* members_;
  std::uint32_t count_;
  SharedMemory* memory_;
  std::uint32_t place_;
  std::uint64_t token_;
};

}  // namespace sluice
