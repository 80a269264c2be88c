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

  static constexpr std::uint32_t kMax = 1024;
  // Further places, for tools that look into a region whose members have taken all theirs.
  static constexpr std::uint32_t kToolPlaces = 8;
  static constexpr std::uint32_t kPlaces = kMax + kToolPlaces;

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
  // Places [first, end) of `members` can be taken. `memory` is null for a region of this process alone.
  // Nothing if they are all taken.
  static std::optional<Membership> join(Member* members, std::uint32_t first, std::uint32_t end,
                                        SharedMemory* memory, const Machine& machine) {
    // Those that nobody has, or has left, come first: asking for the places of the living is in vain.
    for (const bool alsoTaken : {false, true}) {
      for (std::uint32_t place = first; place < end; ++place) {
        // Relaxed: a hint.
        const std::uint64_t token = members[place].token.load(std::memory_order_relaxed);
        const bool isTaken = token != 0 && (token & Member::kLeft) == 0;
        if (isTaken != alsoTaken) continue;
        if (auto membership = takePlace(members, place, memory)) {
          membership->introduce(machine);
          return membership;
        }
      }
    }
    return std::nullopt;
  }

  Membership(Membership&& other) noexcept
      : members_(std::exchange(other.members_, nullptr)),
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
    if (place >= Member::kPlaces) return true;
    if (memory_ == nullptr) return false;  // threads do not die alone
    // Acquire: whoever took the place did so after its last holder's end.
    if (members_[place].token.load(std::memory_order_acquire) != token) return true;
    return !memory_->isLockedByOther(static_cast<unsigned>(place));
  }

  // Whether others may stop for long while this one goes on: not if all are threads of one process.
  bool isAmongProcesses() const { return memory_ != nullptr; }

 private:
  Membership(Member* members, SharedMemory* memory, std::uint32_t place, std::uint64_t token)
      : members_(members), memory_(memory), place_(place), token_(token) {}

  // Nothing if it is somebody else's.
  static std::optional<Membership> takePlace(Member* members, std::uint32_t place, SharedMemory* memory) {
    if (memory != nullptr && !memory->tryLock(place)) return std::nullopt;
    Member& member = members[place];
    // Relaxed: the exchange synchronises.
    std::uint64_t last = member.token.load(std::memory_order_relaxed);
    const bool isFree = memory != nullptr || last == 0 || (last & Member::kLeft) != 0;
    const std::uint64_t token = ((last >> 16) + 1) << 16 | (place + 1);
    crashPoint();
    // Acq_rel: sees the last one's counts; who sees the token takes the last one for gone. Failure relaxed:
    // another thread was faster.
    if (isFree && member.token.compare_exchange_strong(last, token, std::memory_order_acq_rel,
                                                       std::memory_order_relaxed)) {
      return Membership(members, memory, place, token);
    }
    if (memory != nullptr) memory->unlock(place);
    return std::nullopt;
  }

  void introduce(const Machine& machine) const {
    Member& member = self();
    // Relaxed, all: statistics.
    member.allowedBefore.store(member.allowed.load(std::memory_order_relaxed), std::memory_order_relaxed);
    member.deniedBefore.store(member.denied.load(std::memory_order_relaxed), std::memory_order_relaxed);
    member.process.store(machine.process, std::memory_order_relaxed);
    member.processNamespace.store(machine.processNamespace, std::memory_order_relaxed);
  }

  Member* members_;
  SharedMemory* memory_;
  std::uint32_t place_;
  std::uint64_t token_;
};

}  // namespace sluice
