// The slot protocol of slot.h and table.h as step machines, one shared access to a step, so that every
// interleaving can be tried. One thread claims (claims are made under a lock, so they come one after
// another), the others update or read without the lock. The words are the real ones; beside them the memory
// remembers whose they are.
#pragma once

#include <array>
#include <optional>
#include <string>
#include <unordered_set>
#include <vector>

#include "core/slot.h"

namespace protocol {

using sluice::KeyWord;
using sluice::StateWord;

// What the protocol asks for. A test that switches one off must find a violation.
struct Rules {
  bool claimsRaiseTheGeneration = true;
  bool claimsAreSwaps = true;
  bool keyChangesAfterTheClaim = true;
  bool keyChangesBeforeThePublication = true;
  bool stateIsLoadedBeforeTheKey = true;
  bool readersReloadTheState = true;
  bool claimedStatesAreLeftAlone = true;
  bool failedSwapsAcquire = true;  // else the key loaded next may be one that was there before
};

// What a claim does to the slot: gives it to a key, or changes the meta of the key that has it.
enum class Claim : std::uint64_t { kGiveToA = 1, kGiveToB = 2, kGiveToC = 3, kChangeMeta = 4 };

// All members are 64 bits wide: worlds are compared and hashed as bytes.
struct Owner {
  std::uint64_t key = 0, meta = 0;
  bool operator==(const Owner&) const = default;
};

struct Memory {
  std::uint64_t key = 0, state = 0;
  Owner owner;                // whose the state is; nobody's while it is claimed
  std::uint64_t payload = 0;  // what it must be if no update is lost
};

struct Updater {
  std::uint64_t me = 0, writes = 0;
  std::uint64_t step = 0, attempts = 0;
  std::uint64_t key = 0, state = 0;  // as loaded
  Owner owner;                       // of the state, when it was loaded
  bool done() const { return step == 3; }
  void leave() { *this = {.step = 3, .owner = {}}; }  // what it has loaded makes no difference any more
};

struct Claimer {
  std::array<Claim, 3> claims{};
  std::uint64_t next = 0, step = 0, state = 0;
  bool done() const { return next == claims.size(); }
};

struct World {
  Memory memory;
  std::array<Updater, 2> updaters;
  Claimer claimer;
};
static_assert(std::has_unique_object_representations_v<World>);

class Checker {
 public:
  explicit Checker(const Rules& rules) : rules_(rules) {}

  // Tries every interleaving from `start`; what went wrong in the first that breaks the protocol, if any
  // does.
  std::optional<std::string> findViolation(const World& start) {
    std::vector<World> open{start};
    while (!open.empty() && !violation_) {
      const World world = open.back();
      open.pop_back();
      if (!seen_.insert(std::string(reinterpret_cast<const char*>(&world), sizeof world)).second) continue;
      for (std::size_t i = 0; i < world.updaters.size(); ++i) {
        if (!world.updaters[i].done()) stepUpdater(world, i, open);
      }
      if (!world.claimer.done()) stepClaimer(world, open);
    }
    return violation_;
  }
  std::size_t worlds() const { return seen_.size(); }

 private:
  static constexpr std::uint64_t kMaxAttempts = 3;

  void stepUpdater(World world, std::size_t index, std::vector<World>& open) {
    Updater& self = world.updaters[index];
    if (self.step == 2) {
      finish(self, world.memory);
    } else if ((self.step == 0) == rules_.stateIsLoadedBeforeTheKey) {
      loadState(self, world.memory);
      ++self.step;
    } else {
      if (!rules_.failedSwapsAcquire &&
          self.attempts > 0) {  // this world: the key that was loaded before, once more
        World stale = world;
        ++stale.updaters[index].step;
        leaveIfNotMine(stale.updaters[index]);
        open.push_back(stale);
      }
      self.key = world.memory.key;
      ++self.step;
    }
    leaveIfNotMine(self);
    open.push_back(world);
  }

  static void loadState(Updater& self, const Memory& memory) {
    self.state = memory.state;
    self.owner = memory.owner;
  }

  // Once both words are loaded: what is claimed or another's is left to the lock.
  void leaveIfNotMine(Updater& self) const {
    if (self.step != 2) return;
    const bool claimed = rules_.claimedStatesAreLeftAlone && StateWord{self.state}.claimed();
    if (claimed || KeyWord{self.key}.fingerprint() != self.me) self.leave();
  }

  // The swap of a writer, the second load of a reader.
  void finish(Updater& self, Memory& memory) {
    const Owner mine{self.me, KeyWord{self.key}.meta()};
    if (self.writes == 0 && (!rules_.readersReloadTheState || memory.state == self.state)) {
      if (self.owner != mine) violation_ = "a reader answered from a state that was not its key's";
      self.leave();
    } else if (self.writes != 0 && memory.state == self.state) {
      if (memory.owner != mine) violation_ = "an updater changed a state that was not its key's";
      const StateWord state{self.state};
      memory.state = state.with(state.payload() + 1).bits;
      ++memory.payload;
      self.leave();
    } else if (++self.attempts == kMaxAttempts) {
      self.leave();
    } else {
      loadState(self, memory);
      self.step = rules_.stateIsLoadedBeforeTheKey ? 1 : 0;
    }
  }

  void stepClaimer(World world, std::vector<World>& open) {
    Claimer& self = world.claimer;
    switch (self.step) {
      case 0:
        self.state = world.memory.state;
        ++self.step;
        break;
      case 1:
        rules_.keyChangesAfterTheClaim ? claim(self, world.memory) : storeKey(self, world.memory);
        break;
      case 2:
        !rules_.keyChangesAfterTheClaim ? claim(self, world.memory) : middle(self, world.memory);
        break;
      default:
        last(self, world.memory);
        break;
    }
    open.push_back(world);
  }

  void middle(Claimer& self, Memory& memory) {
    rules_.keyChangesBeforeThePublication ? storeKey(self, memory) : publish(self, memory);
  }
  void last(Claimer& self, Memory& memory) {
    rules_.keyChangesBeforeThePublication ? publish(self, memory) : storeKey(self, memory);
    self.step = self.state = 0;
    ++self.next;
  }

  StateWord claimed(const Claimer& self) const {
    const StateWord raised = StateWord{self.state}.claim();
    return rules_.claimsRaiseTheGeneration ? raised : StateWord{self.state}.with(raised.payload());
  }

  void claim(Claimer& self, Memory& memory) {
    if (memory.state != self.state && rules_.claimsAreSwaps) {
      self.step = 0;
      return;
    }
    memory.state = claimed(self).bits;
    memory.owner = {};
    ++self.step;
  }

  Owner heir(const Claimer& self, const Memory& memory) const {
    const Claim claim = self.claims[self.next];
    const KeyWord key{memory.key};
    if (claim == Claim::kChangeMeta) return {key.fingerprint(), key.meta() ^ 1};
    return {static_cast<std::uint64_t>(claim), 0};
  }

  void storeKey(Claimer& self, Memory& memory) {
    const Owner owner = heir(self, memory);
    memory.key = KeyWord::make(owner.key, static_cast<std::uint32_t>(owner.meta), 0, 0).bits;
    ++self.step;
  }

  // A key that is new starts at 0: as like as possible to the payload of the one before.
  void publish(Claimer& self, Memory& memory) {
    const bool same = self.claims[self.next] == Claim::kChangeMeta;
    const std::uint64_t payload = same ? StateWord{self.state}.payload() : 0;
    if (same && payload != memory.payload) violation_ = "an update was lost";
    const KeyWord key{memory.key};
    memory.owner =
        rules_.keyChangesBeforeThePublication ? Owner{key.fingerprint(), key.meta()} : heir(self, memory);
    memory.state = claimed(self).with(payload).bits;
    memory.payload = payload;
    ++self.step;
  }

  Rules rules_;
  std::unordered_set<std::string> seen_;
  std::optional<std::string> violation_;
};

}  // namespace protocol
