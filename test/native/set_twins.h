// A limit that is part of a set, and its twin: a table like it, that is called by itself. Whatever the set
// does to the one, the same calls, made one by one, must do to the other.
#pragma once

#include <cstring>

#include "core/limit_set.h"

#include "limit_tables.h"

namespace check {

struct SetCall {
  std::uint64_t nowNs, key, cost;
  std::uint32_t policy;
};

inline sluice::Path setKey(std::uint64_t number) {
  return craftedKey(static_cast<std::uint32_t>(number % 16), number);
}

// What seats read as the present.
inline std::uint64_t presentNs = 0;
inline sluice::Later readsPresent() {
  return {[](const void* clock) { return *static_cast<const std::uint64_t*>(clock); }, &presentNs};
}

class Twin {
 public:
  static constexpr std::uint32_t kPolicies = 3;
  static constexpr std::uint64_t kKeys = 90;  // more than there are places

  virtual ~Twin() = default;
  virtual sluice::Seat& seat() = 0;
  // What the set does next: decided at a frame of time that reaches `slackNs` back and ahead, or exactly.
  virtual void aim(const SetCall& call) = 0;
  virtual void aimWithin(const SetCall& call, std::uint64_t slackNs) = 0;
  // The same call by itself; `undo` takes back what was done since the last of these.
  virtual sluice::Decision consumeAlone(const SetCall& call) = 0;
  virtual sluice::Decision allowAlone(const SetCall& call) = 0;
  virtual void undo() = 0;
  virtual sluice::Decision peekAlone(const SetCall& call) = 0;
  // Something else happens to the key, in both tables.
  virtual bool disturb(Random& random, const SetCall& call) = 0;
  // Whether both tables hold the same, and answer the same about these keys.
  virtual bool isSame(std::uint64_t nowNs, std::uint64_t firstKey, std::uint64_t keys) = 0;
  // Whether somebody else has the set's table.
  virtual void share(bool isShared) = 0;

  bool punishes = false;
  std::uint64_t algorithm = 0;
};

inline bool sameAnswer(const sluice::Decision& seen, const sluice::Decision& expected) {
  return CHECK_EQ(seen.outcome, expected.outcome) && CHECK_EQ(seen.remaining, expected.remaining) &&
         CHECK_EQ(seen.retryAfterNs, expected.retryAfterNs) &&
         CHECK_EQ(seen.resetAfterNs, expected.resetAfterNs) && CHECK_EQ(seen.delayNs, expected.delayNs);
}

template <class Algorithm>
class TwinOf : public Twin {
 public:
  using Table = sluice::Table<Algorithm>;

  TwinOf(std::uint64_t id, Random& random)
      : windowNs_(random.between(sluice::kNsPerMs, 100 * sluice::kNsPerSecond)),
        random_(random.next()),
        escalation_(escalationOf(random)),
        table_(tableOfLimit<Algorithm>(id, policy(), kMaxLimit, escalation_)),
        twin_(tableOfLimit<Algorithm>(id, table_->book().specAt(0), kMaxLimit, escalation_)),
        seat_(*table_, readsPresent()) {
    while (table_->book().size() < kPolicies) {
      const sluice::PolicySpec spec = policy();
      CHECK_EQ(table_->addPolicy(spec).index, twin_->addPolicy(spec).index);
    }
    punishes = escalation_.steps != 0;
    algorithm = Algorithm::kId;
    // Some are nearly full of keys that stay.
    for (std::uint64_t i = 0, stay = random_.oneIn(4) ? 62 : 0; i < stay; ++i) {
      const SetCall call{presentNs, kKeys - 1 - i, 1, 0};
      CHECK(change(*table_, call, 0, 0, sluice::kHorizonNs / 4) ==
            change(*twin_, call, 0, 0, sluice::kHorizonNs / 4));
    }
  }

  sluice::Seat& seat() override { return seat_; }
  void aim(const SetCall& call) override {
    seat_.aim(setKey(call.key), call.policy, call.nowNs, call.cost, nullptr, false);
  }
  void aimWithin(const SetCall& call, std::uint64_t slackNs) override {
    frame_ = Algorithm::frame(table_->book(), call.policy, call.nowNs - slackNs, call.nowNs + slackNs);
    seat_.aim(setKey(call.key), call.policy, ~std::uint64_t{0}, call.cost, &frame_, true);
  }

  sluice::Decision consumeAlone(const SetCall& call) override {
    save();
    return sluice::consume(request(*twin_, call), call.cost);
  }
  sluice::Decision allowAlone(const SetCall& call) override {
    save();
    sluice::Decision decision;
    decision.outcome = sluice::allow(request(*twin_, call), call.cost);
    return decision;
  }
  void undo() override { std::memcpy(changing(*twin_), saved_.data(), saved_.size()); }
  sluice::Decision peekAlone(const SetCall& call) override {
    save();
    const sluice::Decision seen = peek(*twin_, call);
    undo();  // it may have healed something
    return seen;
  }

  bool disturb(Random& random, const SetCall& call) override {
    const std::uint64_t kind = random.below(8), tokens = random.below(kMaxLimit);
    const std::uint64_t timeNs = random.below(2 * windowNs_);
    const auto one = change(*table_, call, kind, tokens, timeNs);
    return CHECK_EQ(one, change(*twin_, call, kind, tokens, timeNs));
  }

  bool isSame(std::uint64_t nowNs, std::uint64_t firstKey, std::uint64_t keys) override {
    if (!sameSlots()) return false;
    for (std::uint64_t i = firstKey; i < firstKey + keys; ++i) {
      for (std::uint32_t policy = 0; policy < kPolicies; ++policy) {
        for (const std::uint64_t atNs : {nowNs, nowNs + windowNs_ / 2}) {
          const SetCall call{atNs, i % kKeys, 1, policy};
          if (!sameAnswer(peek(*table_, call), peek(*twin_, call))) return false;
        }
      }
    }
    return true;
  }

  void share(bool isShared) override { alsoHeld_ = isShared ? table_->region() : nullptr; }

 private:
  static constexpr std::uint64_t kMaxLimit = 30;
  static constexpr bool isPunishable =
      !std::is_same_v<Algorithm, sluice::LeakyBucket> && !std::is_same_v<Algorithm, sluice::Concurrency>;

  static sluice::Escalation escalationOf(Random& random) {
    sluice::Escalation escalation;
    if (!isPunishable || !random.oneIn(3)) return escalation;
    escalation.steps = random.between(1, 3);
    for (std::size_t i = 0; i < escalation.steps; ++i) escalation.blockMs[i] = random.between(1, 20'000);
    escalation.forgetMs = random.between(1, 60'000);
    return escalation;
  }

  sluice::PolicySpec policy() {
    sluice::PolicySpec spec = inWindow(random_.between(1, random_.oneIn(2) ? 4 : kMaxLimit), windowNs_);
    constexpr bool canBegin =
        std::is_same_v<Algorithm, sluice::TokenBucket> || std::is_same_v<Algorithm, sluice::FixedWindow>;
    if (canBegin && random_.oneIn(3)) {
      spec.initial = random_.between(1, spec.limit);
      spec.rememberNs = random_.below(3 * windowNs_);
    } else if (canBegin && random_.oneIn(3)) {
      spec.evenly = 1;
    }
    return spec;
  }

  static sluice::Request<Algorithm> request(Table& table, const SetCall& call) {
    return {table, setKey(call.key), call.policy, call.nowNs};
  }
  static sluice::Decision peek(Table& table, const SetCall& call) {
    return sluice::peek(request(table, call));
  }

  // A number that says what came of it.
  static std::uint64_t change(Table& table, const SetCall& call, std::uint64_t kind, std::uint64_t tokens,
                              std::uint64_t timeNs) {
    const auto asked = request(table, call);
    if (kind == 0) return sluice::block(asked, call.nowNs + timeNs);
    if (kind == 1) return sluice::penalize(asked, tokens, tokens / 2);
    if (kind == 2) return sluice::refund(asked, tokens, timeNs);
    if (kind == 3) return sluice::reset(asked) == std::optional(true);
    return sluice::consume(asked, call.cost).remaining;
  }

  // Everything that changes but the policies.
  static std::byte* changing(const Table& table) {
    return reinterpret_cast<std::byte*>(table.region()->stripes());
  }
  void save() {
    saved_.resize(twin_->bytes() - sluice::Layout::kStripes);
    std::memcpy(saved_.data(), changing(*twin_), saved_.size());
  }

  // What lies in the slots, and how they are used.
  std::vector<std::uint64_t> shape(const Table& table) const {
    const sluice::Stripe& stripe = *table.region()->stripes();
    std::vector<std::uint64_t> words = {stripe.occupied.load(), stripe.evictedLive.load(), stripe.sweepCursor,
                                        stripe.journal.creations};
    for (std::uint32_t i = 0; i < table.geometry().linesPerStripe; ++i) {
      for (const sluice::Slot& slot : table.region()->lines()[i].slots)
        words.insert(words.end(), {slot.loadKey().bits, slot.loadState().payload()});
    }
    // (Those of a ring may be behind its payload.)
    if constexpr (std::is_same_v<Algorithm, sluice::SlidingLog>) {
      const std::uint64_t* first = table.region()->words();
      words.insert(words.end(), first, first + table.geometry().slots() * table.book().words());
    }
    return words;
  }
  bool sameSlots() const {
    const auto one = shape(*table_), other = shape(*twin_);
    if (one == other) return true;
    for (std::size_t i = 0; i < one.size(); ++i) {
      if (!CHECK_EQ(one[i], other[i])) check::note("word", i);
    }
    return false;
  }

  std::uint64_t windowNs_;
  Random random_;
  sluice::Escalation escalation_;
  std::unique_ptr<Table> table_, twin_;
  sluice::LimitSeat<Algorithm> seat_;
  typename Algorithm::Frame frame_{};
  std::shared_ptr<sluice::Region> alsoHeld_;
  std::vector<std::byte> saved_;
};

// A limit of any algorithm.
inline std::unique_ptr<Twin> anyTwin(std::uint64_t id, Random& random) {
  switch (random.below(7)) {
    case 0:
      return std::make_unique<TwinOf<sluice::TokenBucket>>(id, random);
    case 1:
      return std::make_unique<TwinOf<sluice::FixedWindow>>(id, random);
    case 2:
      return std::make_unique<TwinOf<sluice::SlidingWindow>>(id, random);
    case 3:
      return std::make_unique<TwinOf<sluice::SlidingLog>>(id, random);
    case 4:
      return std::make_unique<TwinOf<sluice::StrictWindow>>(id, random);
    case 5:
      return std::make_unique<TwinOf<sluice::LeakyBucket>>(id, random);
    default:
      return std::make_unique<TwinOf<sluice::Concurrency>>(id, random);
  }
}

}  // namespace check
