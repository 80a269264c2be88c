// Memory that all processes of a machine can map by name, and locks that end with the process that holds
// them. All that is particular to an operating system is in shared_memory.cc; where there is nothing,
// everything answers kUnsupported.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <vector>

namespace sluice {

enum class ShareStatus : std::uint8_t {
  kOk,
  kUnsupported,  // no such thing on this system
  kNotFound,     // nothing has that name
  kExists,       // somebody else was first
  kForeign,      // belongs to another user, or others may write to it
  kCorrupt,      // what has that name is no region of ours, or not a whole one
  kVersion,      // a region of another layout
  kNoSpace,      // the system has not got that much memory for sharing
  kFull,         // as many attached as there can be
  kBusy,         // somebody holds what everybody needs for a moment, and does not go on
  kSystem,       // anything else
};

struct ShareFailure {
  ShareStatus status = ShareStatus::kOk;
  std::string detail;  // for a person: what was found, or what the system said
};

// One mapped region. Its content is untrusted until its reader has checked it; that it is all there, that it
// belongs to this user and that nobody else can write to it has been checked here.
class SharedMemory {
 public:
  struct Result {
    std::unique_ptr<SharedMemory> memory;  // null if it failed
    ShareFailure failure;
  };

  // Zeroed memory without a name, every page of it truly allocated: using it later cannot fail.
  static Result make(std::size_t bytes);
  // The memory of that name.
  static Result open(const std::string& name);
  // Takes the name away from whatever of this user has it, be it a region or not. kBusy if any of the first
  // `places` is locked, or the gate cannot be had, unless `force`.
  static ShareFailure remove(const std::string& name, unsigned places, bool force);
  // The names there are, of this user.
  static std::vector<std::string> list();

  SharedMemory(const SharedMemory&) = delete;
  SharedMemory& operator=(const SharedMemory&) = delete;
  // Ends the mapping and all its locks. The memory lives on under its name.
  ~SharedMemory();

  std::byte* base() const { return base_; }
  std::size_t bytes() const { return bytes_; }

  // Gives memory that was made here its name. kExists if somebody else has taken it meanwhile.
  ShareFailure publish(const std::string& name);
  // Whether the name (still) means this memory.
  bool isNamed(const std::string& name) const;
  // Takes the name away. Who has mapped the memory keeps it. REQUIRES isNamed, and the gate, exclusive.
  ShareFailure unlink(const std::string& name);

  // Locks on places of the region, which the system gives back when their holder dies. They keep out other
  // mappings, in whatever process and thread, not other users of this one.
  bool tryLock(unsigned place);
  void unlock(unsigned place);
  bool isLockedByOther(unsigned place) const;

  // The gate: shared while somebody comes in, exclusive while the name changes hands. Held for some system
  // calls; kBusy if it could not be had within a second.
  ShareFailure enterGate(bool exclusive);
  void leaveGate();

 private:
  SharedMemory(int file, std::byte* base, std::size_t bytes) : file_(file), base_(base), bytes_(bytes) {}
  static Result map(int file, std::size_t bytes);

  int file_;
  std::byte* base_;
  std::size_t bytes_;
};

// Held while one makes memory and gives it its name. Who starts together with others waits for its turn,
// finds the name taken, and does not need the room for memory that nobody wants. Waits a second at most:
// who goes without it needs more room, that is all.
class MakersTurn {
 public:
  MakersTurn();
  ~MakersTurn();
  MakersTurn(const MakersTurn&) = delete;
  MakersTurn& operator=(const MakersTurn&) = delete;

 private:
  int folder_;
};

// What a process must know about the machine to share time and liveness with others.
struct Machine {
  std::array<std::uint64_t, 2> bootId{};  // zeros if it cannot be told
  // How far this process's monotonic clock is ahead of the one that all processes have in common (containers
  // may be given a clock of their own: Linux time namespaces). Nothing if that cannot be told.
  std::optional<std::int64_t> clockAheadNs;
  std::uint64_t process = 0;           // its number, as it sees it itself
  std::uint64_t processNamespace = 0;  // in which that number counts

  static Machine self();
};

}  // namespace sluice
