// One key of a table, held still: looked at and decided about, while nobody else can change it, and then
// changed or left as it is. Holding several keys, of several tables, makes one decision out of several
// (limit_set.h).
//
// Who holds a key holds the lock of its stripe and has claimed its slot. Those who change entries without the
// lock find the slot claimed, and wait for the lock.
#pragma once

#include "core/table.h"

namespace sluice {

template <class Algorithm>
class Hold {
 public:
  using Entry = typename Algorithm::Entry;
  using Step = BasicStep<Entry>;

  // Waits for the key's stripe. REQUIRES that no other key of the table is held by this thread.
  Hold(Table<Algorithm>& table, const Path& path)
      : path_(path), guard_(table.linesOf(path.stripe), table.member()), keys_(table.keysOf(*guard_)) {
    if (!guard_.held()) return;
    Slot* slot = table.find(path_);
    if (slot == nullptr) return;
    StateWord state = slot->loadState();
    while (!seize(*slot, state)) continue;
    distance_ = slot->loadKey().distance();
    entry_ = keys_.entryOf(*slot, state);
    entry_.payload = payload_;
  }
  ~Hold() {
    if (isClaimed_) guard_->release(*slot_, state_, payload_);
  }
  Hold(const Hold&) = delete;
  Hold& operator=(const Hold&) = delete;

  // False if it cannot be had now (kBusy).
  bool held() const { return guard_.held(); }
  bool isPresent() const { return slot_ != nullptr && !isNew_; }
  const Entry& entry() const { return entry_; }

  // Runs `operation(Entry) -> Step`, and changes nothing yet. May be called again, to judge anew.
  template <class Operation>
  const Step& judge(std::uint64_t nowNs, Operation&& operation) {
    step_ = operation(entry_);
    if (step_.write && slot_ == nullptr && !findPlace(nowNs)) {
      step_ = Step{};
      step_.outcome = Outcome::kTableFull;
    }
    return step_;
  }
  // The same where it is known what a charge comes to. REQUIRES isPresent(). (Field by field: what was just
  // written is slow to copy.)
  void judge(Outcome outcome, std::uint64_t payload) {
    step_.outcome = outcome;
    step_.write = outcome == Outcome::kAllowed;
    step_.next.payload = step_.write ? payload : entry_.payload;
    step_.next.meta = entry_.meta;
    if constexpr (isWide<Algorithm>) step_.next.words = entry_.words;
  }
  const Step& judged() const { return step_; }
  // With kTableFull: until the first neighbour stops limiting.
  std::uint64_t waitNs() const { return waitNs_; }

  // Makes what was judged last. At most once.
  void commit(std::uint64_t nowNs) {
    if (step_.outcome == Outcome::kTableFull) bump(guard_->stripe().refusedFull, 1);
    if (!step_.write) return;
    if (isNew_) step_.next = keys_.named(step_.next);
    const KeyWord next = KeyWord::make(path_.fingerprint, step_.next.meta, distance_, 0);
    if constexpr (isWide<Algorithm>)
      guard_->settle(*slot_, state_, next, step_.next.payload, step_.next.words.data());
    else
      guard_->settle(*slot_, state_, next, step_.next.payload);
    isClaimed_ = false;
    entry_ = step_.next;
    if (!isNew_) return;
    if (evicts_) bump(guard_->stripe().evictedLive, 1);
    keys_.sweepOneLine(nowNs);
  }

 private:
  // Sees to it that nobody changes the slot. False, with the new state, if somebody just has.
  bool seize(Slot& slot, StateWord& state) {
    payload_ = state.payload();
    if (!guard_->seize(slot, state)) return false;
    isClaimed_ = true;
    slot_ = &slot;
    state_ = state;
    return true;
  }

  // Where the key goes if it comes to that. False if there is no room.
  bool findPlace(std::uint64_t nowNs) {
    for (;;) {
      auto place = keys_.choosePlace(path_, nowNs);
      waitNs_ = place.waitNs;
      if (place.slot == nullptr) return false;
      // Its owner may have updated the slot since; then it is worth another look.
      if (!seize(*place.slot, place.state)) continue;
      distance_ = place.distance;
      evicts_ = place.evicts;
      return isNew_ = true;
    }
  }

  Path path_;
  StripeGuard guard_;
  StripeKeys<Algorithm> keys_;
  Slot* slot_ = nullptr;       // of the key, or found for it
  StateWord state_;            // of the slot, while the key is held
  std::uint64_t payload_ = 0;  // what it was before it was claimed
  std::uint32_t distance_ = 0;
  bool isClaimed_ = false;
  bool isNew_ = false;
  bool evicts_ = false;
  std::uint64_t waitNs_ = 0;
  Entry entry_{};
  Step step_{};
};

}  // namespace sluice
