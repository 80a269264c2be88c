// A region: the memory of one table with everything that belongs to it. Private to a process, or shared under
// a name by all processes of a machine; the layout is the same.
#pragma once

#include <atomic>
#include <memory>
#include <optional>
#include <string>
#include <variant>

#include "core/layout.h"
#include "core/memory.h"
#include "core/shared_memory.h"

namespace sluice {

// What a new region is made from.
struct RegionSpec {
  std::uint64_t algorithm = 0;
  std::uint64_t maxKeys = 1;
  std::uint64_t wordsPerSlot = 0;
  BookOptions book;
  Escalation escalation;
  HashSeed seed{};
  std::uint64_t id = 0;
  TimeBase time;
  PolicySpec base;
};

enum class Role : std::uint8_t {
  kMember,
  kTool,  // looks into it; not listed, and has places of its own
};

class Region {
 public:
  struct Attached;

  // In memory of this process. Nothing but kNoSpace can go wrong.
  static Attached allocate(const RegionSpec& spec);
  // The shared region of that name, made if there is none. Of any number of processes that start together one
  // makes it and the others find it whole. What is found may differ from what was asked for: see `header` and
  // `policies`. One from before the machine's last start is replaced.
  static Attached openOrCreate(const std::string& name, const RegionSpec& spec);
  // The shared region of that name, if there is one.
  static Attached open(const std::string& name, Role role = Role::kMember);
  // One more member for a private region.
  static Attached attach(std::shared_ptr<Region> region);
  // Takes the name of a shared region away, or of anything else of this user that has it. kBusy if somebody
  // is attached, unless `force`.
  static ShareFailure remove(const std::string& name, bool force);

  Region(const Region&) = delete;
  Region& operator=(const Region&) = delete;

  // As it was when it was checked.
  const RegionHeader& header() const { return header_; }
  const Geometry& geometry() const { return geometry_; }
  // The same origin, as this process's clock tells it.
  const TimeBase& time() const { return time_; }
  std::size_t bytes() const { return bytes_; }
  // Whether `self`, one user's pointer to it, is all there is, and nobody else can attach meanwhile: then
  // nobody else changes anything.
  static bool isAlone(const std::shared_ptr<Region>& self) {
    // Relaxed: set by the thread that asks, before anybody can attach.
    return self.use_count() == 1 && !self->isShared() && !self->isHandedOut_.load(std::memory_order_relaxed);
  }
  // From here on others may attach to a private region at any time.
  void handOut() { isHandedOut_.store(true, std::memory_order_relaxed); }  // relaxed: see isAlone
  bool isShared() const { return std::holds_alternative<std::unique_ptr<SharedMemory>>(memory_); }

  PolicyList& policies() const { return *at<PolicyList>(Layout::kPolicies); }
  Member* members() const { return at<Member>(Layout::kMembers); }
  Stripe* stripes() const { return at<Stripe>(Layout::kStripes); }
  Line* lines() const { return at<Line>(Layout::lines(geometry_)); }
  std::uint64_t* words() const { return at<std::uint64_t>(Layout::words(geometry_)); }
  std::uint64_t* journaledWords() const {
    return at<std::uint64_t>(Layout::journaledWords(geometry_, header_.wordsPerSlot));
  }

 private:
  Region(std::variant<Memory, std::unique_ptr<SharedMemory>> memory, const RegionHeader& header,
         std::int64_t clockAheadNs);

  template <class T>
  T* at(std::size_t offset) const {
    return reinterpret_cast<T*>(base_ + offset);
  }
  SharedMemory* shared() const;

  static Attached open(const std::string& name, Role role, const Machine& machine);
  static Attached enter(std::unique_ptr<SharedMemory> memory, const Machine& machine, Role role);
  static Attached create(const std::string& name, const RegionSpec& spec, const Machine& machine);

  std::variant<Memory, std::unique_ptr<SharedMemory>> memory_;
  std::byte* base_;
  std::size_t bytes_;
  RegionHeader header_;
  Geometry geometry_;
  TimeBase time_;
  std::atomic<bool> isHandedOut_ = false;
};

// A region and one's place in it; or why not.
struct Region::Attached {
  std::shared_ptr<Region> region;
  std::optional<Membership> member;
  ShareFailure failure;

  explicit operator bool() const { return region != nullptr; }
};

}  // namespace sluice
