// Several limits as one: a call is admitted if all admit it, and then spends from all; else it spends
// nowhere.
//
// Each limit has a table of its own. A call holds its key in every one of them still (hold.h), asks all, and
// changes all or none; so no other call ever sees half of it. Keys are held in an order that all processes of
// the machine have in common, so that no two calls wait for each other.
#pragma once

#include <algorithm>
#include <memory>
#include <optional>
#include <utility>
#include <vector>

#include "core/escalation.h"
#include "core/hold.h"

namespace sluice {

// One limit of a set, whatever its algorithm.
class Seat {
 public:
  virtual ~Seat() = default;

  // What a charge comes to, as far as that can be told without knowing the exact time and without holding the
  // key. Clears `alone` if somebody else may change something in the table.
  virtual Verdict::Kind glance(bool* alone) = 0;
  // Charges what was glanced at, and counts the call. False, and nothing done, if it has changed since.
  virtual bool spend() = 0;
  virtual void unspend() = 0;
  // Counts the call, as one that was admitted or refused here.
  virtual void count(bool admitted) = 0;

  // The place of its table among all tables; of two users of one table the same.
  virtual std::uint64_t order() const = 0;
  // Holds the key still. False if it cannot be had now (kBusy).
  virtual bool hold() = 0;
  // What a charge would come to. REQUIRES that the key is held.
  virtual Outcome judge() = 0;
  // Does what was judged.
  virtual void commit() = 0;
  // What to answer, as things are now.
  virtual Decision describe() const = 0;
  virtual void letGo() = 0;
  // Does what the limiter does to those who are refused, and says what they are told then; nothing if it does
  // nothing. REQUIRES that nothing is held.
  virtual std::optional<Decision> punish() = 0;
};

// A charge under one policy of a table.
template <class Algorithm>
class LimitSeat : public Seat {
 public:
  using Entry = typename Algorithm::Entry;
  using Frame = typename Algorithm::Frame;

  // `later` reads the clock anew; see Later.
  LimitSeat(Table<Algorithm>& table, const Later& later) : table_(table), later_(later) {}

  // What comes next. With a frame, `nowNs` is not looked at if the frame suffices, and read anew if not; then
  // nothing can be described. `atOnce`: where the algorithm paces, only what may go out now is admitted.
  // (Field by field: copied as a whole right after it is written, it would wait for the cache.)
  void aim(const Path& path, std::uint32_t policy, std::uint64_t nowNs, std::uint64_t cost,
           const Frame* frame, bool atOnce) {
    path_ = path;
    policy_ = policy;
    nowNs_ = nowNs;
    cost_ = cost;
    frame_ = frame;
    atOnce_ = atOnce;
    outcome_ = Outcome::kBusy;
    isCommitted_ = false;
  }

  Verdict::Kind glance(bool* alone) override {
    if (frame_ == nullptr) return Verdict::Kind::kUnsure;
    *alone = *alone && Region::isAlone(table_.region());
    const Verdict::Kind verdict = table_.glance(
        path_, [&](const sluice::Entry& entry) { return verdictOn(entry); }, &glance_);
    const bool punishes = verdict == Verdict::Kind::kRefuse && table_.escalation().steps != 0;
    return punishes ? Verdict::Kind::kUnsure : verdict;
  }
  bool spend() override {
    if (!table_.change(glance_)) return false;
    table_.count(true);
    return true;
  }
  void count(bool admitted) override { table_.count(admitted); }
  void unspend() override {
    table_.uncount();
    nowNs_ = later_.read(later_.clock);
    applyTo(request(), [&](const Entry& entry, std::uint64_t nowNs) {
      return Algorithm::refund(table_.book(), policy_, entry, nowNs, cost_, 0);
    });
  }

  std::uint64_t order() const override { return table_.region()->header().id; }

  bool hold() override {
    hold_.emplace(table_, path_);
    return hold_->held();
  }

  Outcome judge() override {
    if (frame_ != nullptr && judgeWithin()) return outcome_;
    if (frame_ != nullptr) nowNs_ = later_.read(later_.clock);
    if (judgeAt(nowNs_).fromFuture && later_.read != nullptr) {
      nowNs_ = later_.read(later_.clock);
      judgeAt(nowNs_);
    }
    return outcome_;
  }

  void commit() override {
    hold_->commit(nowNs_);
    isCommitted_ = true;
  }

  Decision describe() const override {
    if (outcome_ == Outcome::kTableFull) return {outcome_, 0, hold_->waitNs(), hold_->waitNs()};
    if (outcome_ == Outcome::kBusy) return {outcome_, 0, kBusyRetryNs, kBusyRetryNs};
    const auto& book = table_.book();
    const Entry& judged = hold_->judged().next;
    if (isCommitted_ || outcome_ != Outcome::kAllowed)
      return describeEntry<Algorithm>(book, policy_, judged, nowNs_, cost_, outcome_);
    return describeUncharged<Algorithm>(book, policy_, hold_->entry(), judged, nowNs_, cost_);
  }

  void letGo() override { hold_.reset(); }

  std::optional<Decision> punish() override {
    if (outcome_ != Outcome::kLimited || table_.escalation().steps == 0) return std::nullopt;
    if (frame_ != nullptr) nowNs_ = later_.read(later_.clock);
    const auto asked = request();
    const auto answer = Escalating<Algorithm>(asked).punish([&](const Entry& entry, std::uint64_t nowNs) {
      auto step = charge(entry, nowNs);
      // Who would be admitted by now was refused all the same, and spends nothing.
      if (step.outcome == Outcome::kAllowed) step.write = false;
      return step;
    });
    if (answer.applied.step.outcome != Outcome::kBlocked) return std::nullopt;
    return describeEntry<Algorithm>(table_.book(), policy_, answer.applied.entry, answer.nowNs, cost_,
                                    Outcome::kBlocked);
  }

 private:
  Request<Algorithm> request() const { return {table_, path_, policy_, nowNs_, later_}; }

  Verdict verdictOn(const sluice::Entry& entry) const {
    if constexpr (Algorithm::kPaces)
      return Algorithm::chargeNowWithin(*frame_, entry, cost_);
    else
      return Algorithm::chargeWithin(*frame_, entry, cost_);
  }

  // Whether the frame suffices. It does only for entries that are there, so no time is needed to find them a
  // place.
  bool judgeWithin() {
    if (!hold_->isPresent()) return false;
    const Verdict verdict = verdictOn({hold_->entry().payload, hold_->entry().meta});
    if (verdict.kind == Verdict::Kind::kUnsure) return false;
    outcome_ = verdict.kind == Verdict::Kind::kAdmit ? Outcome::kAllowed : Outcome::kLimited;
    hold_->judge(outcome_, verdict.payload);
    return true;
  }

  const BasicStep<Entry>& judgeAt(std::uint64_t nowNs) {
    const auto& step = hold_->judge(nowNs, [&](const Entry& entry) { return charge(entry, nowNs); });
    outcome_ = step.outcome;
    return step;
  }

  BasicStep<Entry> charge(const Entry& entry, std::uint64_t nowNs) const {
    if constexpr (Algorithm::kPaces) {
      if (atOnce_) return Algorithm::chargeNow(table_.book(), policy_, entry, nowNs, cost_);
    }
    return Algorithm::charge(table_.book(), policy_, entry, nowNs, cost_);
  }

  Table<Algorithm>& table_;
  Later later_;
  Path path_{};
  std::uint32_t policy_ = 0;
  std::uint64_t nowNs_ = 0;
  std::uint64_t cost_ = 1;
  const Frame* frame_ = nullptr;
  bool atOnce_ = false;
  std::optional<Hold<Algorithm>> hold_;
  Outcome outcome_ = Outcome::kBusy;
  bool isCommitted_ = false;
  typename Table<Algorithm>::Glance glance_{};
};

class LimitSet {
 public:
  // Nothing if two of them are of the same table. REQUIRES that the seats outlive it.
  static std::optional<LimitSet> of(std::vector<Seat*> seats) {
    LimitSet set(std::move(seats));
    const auto isSame = [](const Seat* a, const Seat* b) { return a->order() == b->order(); };
    const auto same = std::adjacent_find(set.ordered_.begin(), set.ordered_.end(), isSame);
    if (same != set.ordered_.end()) return std::nullopt;
    return set;
  }

  // Charges what the seats aim at, all or nothing. Whether it was admitted. The outcomes are in order of the
  // seats, and so are the decisions. If one key cannot be had now, all outcomes are kBusy.
  bool charge(Outcome* outcomes, Decision* decisions) { return run(outcomes, decisions, {}); }
  // The same without decisions, and faster where nobody else uses the tables.
  bool allow(Outcome* outcomes) {
    const auto admitted = allowUnheld(outcomes);
    return admitted ? *admitted : run(outcomes, nullptr, {});
  }
  // What `charge` would answer; spends nothing.
  bool peek(Outcome* outcomes, Decision* decisions) { return run(outcomes, decisions, {.spends = false}); }
  // `charge` for somebody who comes again if refused: that is no offence, and is not counted. Who would hold
  // the call back for longer than `maxDelayNs` refuses it; then its `retryAfterNs` is that delay.
  bool attempt(Outcome* outcomes, Decision* decisions, std::uint64_t maxDelayNs) {
    return run(outcomes, decisions, {.comesAgain = true, .maxDelayNs = maxDelayNs});
  }

 private:
  explicit LimitSet(std::vector<Seat*> seats) : seats_(std::move(seats)), ordered_(seats_) {
    std::sort(ordered_.begin(), ordered_.end(),
              [](const Seat* a, const Seat* b) { return a->order() < b->order(); });
  }

  // `allow` without holding the keys: a refusal by one is one by all; and where nobody else can come between,
  // all may look first, and then spend. Nothing if it takes the long way.
  std::optional<bool> allowUnheld(Outcome* outcomes) {
    const std::size_t count = seats_.size();
    bool alone = true, admitted = true;
    for (std::size_t i = 0; i < count; ++i) {
      const Verdict::Kind verdict = seats_[i]->glance(&alone);
      if (verdict == Verdict::Kind::kUnsure) return std::nullopt;
      outcomes[i] = verdict == Verdict::Kind::kAdmit ? Outcome::kAllowed : Outcome::kLimited;
      admitted = admitted && verdict == Verdict::Kind::kAdmit;
    }
    if (!admitted) {
      this->count(outcomes, false);
      return false;
    }
    if (!alone) return std::nullopt;
    for (std::size_t i = 0; i < count; ++i) {
      if (seats_[i]->spend()) continue;
      // Somebody has attached to one of the tables at this very moment (or the processor gave up for no
      // reason).
      while (i-- > 0) seats_[i]->unspend();
      return std::nullopt;
    }
    return true;
  }

  struct Terms {
    bool spends = true;
    bool comesAgain = false;
    std::uint64_t maxDelayNs = kNever;
  };

  bool run(Outcome* outcomes, Decision* decisions, const Terms& terms) {
    const bool isHeld =
        std::all_of(ordered_.begin(), ordered_.end(), [](Seat* seat) { return seat->hold(); });
    const bool admitted = isHeld && judge(outcomes);
    if (!isHeld) std::fill_n(outcomes, seats_.size(), Outcome::kBusy);
    const bool isLate = admitted && isHeldBackLongerThan(terms.maxDelayNs);
    for (std::size_t i = 0; isHeld && terms.spends && !isLate && i < seats_.size(); ++i) {
      // Who refuses may have something to note, which spends nothing.
      if (admitted || outcomes[i] != Outcome::kAllowed) seats_[i]->commit();
    }
    for (std::size_t i = 0; decisions != nullptr && i < seats_.size(); ++i)
      decisions[i] = seats_[i]->describe();
    for (Seat* seat : seats_) seat->letGo();
    if (isLate) return refuseLate(outcomes, decisions, terms.maxDelayNs);
    if (!terms.spends || (terms.comesAgain && !admitted)) return admitted;
    if (!admitted) punish(outcomes, decisions);
    count(outcomes, admitted);
    return admitted;
  }

  // REQUIRES that all admit, and nothing is committed.
  bool isHeldBackLongerThan(std::uint64_t maxDelayNs) const {
    if (maxDelayNs == kNever) return false;
    return std::any_of(seats_.begin(), seats_.end(),
                       [&](const Seat* seat) { return seat->describe().delayNs > maxDelayNs; });
  }

  bool refuseLate(Outcome* outcomes, Decision* decisions, std::uint64_t maxDelayNs) const {
    for (std::size_t i = 0; i < seats_.size(); ++i) {
      if (decisions[i].delayNs <= maxDelayNs) continue;
      outcomes[i] = decisions[i].outcome = Outcome::kLimited;
      decisions[i].retryAfterNs = std::exchange(decisions[i].delayNs, 0);
    }
    return false;
  }

  bool judge(Outcome* outcomes) {
    bool admitted = true;
    for (std::size_t i = 0; i < seats_.size(); ++i) {
      outcomes[i] = seats_[i]->judge();
      admitted = admitted && outcomes[i] == Outcome::kAllowed;
    }
    return admitted;
  }

  // All count what all admitted; else those that refused count it.
  void count(const Outcome* outcomes, bool admitted) {
    for (std::size_t i = 0; i < seats_.size(); ++i) {
      if (admitted || outcomes[i] != Outcome::kAllowed) seats_[i]->count(admitted);
    }
  }

  void punish(Outcome* outcomes, Decision* decisions) {
    for (std::size_t i = 0; i < seats_.size(); ++i) {
      const auto decision = seats_[i]->punish();
      if (!decision) continue;
      outcomes[i] = decision->outcome;
      if (decisions != nullptr) decisions[i] = *decision;
    }
  }

  std::vector<Seat*> seats_;
  std::vector<Seat*> ordered_;
};

}  // namespace sluice
