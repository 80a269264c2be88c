// Token bucket, as the generic cell rate algorithm (ITU-T I.371): one number per key, the time at which the
// bucket will be full again. What is missing now is the distance to that time; a bucket whose time has passed
// is full and carries no information.
//
// Times are in units of the policy that drains the bucket (`unitsPerToken` to a token); the entry's meta
// names it. Under another policy the same entry means the same number of tokens spent, so moving a key
// between tiers neither mints nor forgets; it drains at the rate of the policy that last charged it.
//
// A bucket may be in debt (`penalize`): down to one capacity below empty. A flag in meta tells that from a
// time in an impossible future, so that only who is in debt may be as far ahead.
//
// A policy may have a key of which nothing is known begin with less than a full bucket. A key is known until
// its bucket has been full for as long as the policy that drains it remembers.
#pragma once

#include <algorithm>
#include <optional>

#include "core/block.h"
#include "core/decision.h"
#include "core/layout.h"
#include "core/policy_book.h"
#include "core/time_scale.h"

namespace sluice {

class TokenBucket {
 public:
  using Entry = sluice::Entry;
  static constexpr std::uint64_t kId = 1;
  static constexpr bool kPaces = false;  // whether every admitted call has its own time to go out
  using Spec = PolicySpec;

  struct Policy {
    TimeScale scale;
    std::uint64_t unitsPerToken = 1;
    std::uint64_t burst = 1;
    std::uint64_t capacity = 1;        // burst, in units
    std::uint64_t tolerance = 0;       // kClockToleranceNs, in units
    std::uint64_t missingAtFirst = 0;  // in the bucket of a key of which nothing is known, in units
    std::uint64_t rememberNs = 0;      // 0 where every key begins with a full bucket
    bool remembers = false;            // whether a full bucket differs from an unknown one
    bool wraps = false;                // times of this policy outgrow the payload before the horizon
    bool isBase = false;               // see PolicySpec
    bool isQueue = false;              // what is spent is a queue
    bool evenly = false;
    std::uint64_t mostAtOnce() const { return burst; }
  };

  // All policies of a table; an entry's meta indexes it.
  class Book : public PolicyBook<Book, Policy> {
   public:
    Book() = default;
    static std::optional<Book> make(const BookOptions&) { return Book(); }
    static BookOptions options() { return {}; }
    std::optional<Policy> policyFrom(const PolicySpec& spec) const {
      PolicySpec own = spec;
      if (isOfQueues_) {
        own.initial = own.rememberNs = 0;
        own.evenly = 1;
      }
      auto policy = makePolicy(own);
      if (policy) policy->isQueue = isOfQueues_;
      return policy;
    }

   protected:
    // What is spent is a queue, which begins empty, and of which every call has its time to go out.
    struct OfQueues {};
    explicit Book(OfQueues) : isOfQueues_(true) {}

   private:
    bool isOfQueues_ = false;
  };

  // Nothing if the rate exceeds one token a nanosecond, or refilling takes over 146 years, or a key would
  // begin with more than a full bucket or be remembered for longer than times can tell (146 years; at 10^9
  // tokens a second, 36).
  static std::optional<Policy> makePolicy(const PolicySpec& spec) {
    if (spec.limit == 0 || spec.burst == 0 || spec.limit > kMaxTokens || spec.burst > kMaxTokens)
      return std::nullopt;
    if (spec.windowNs == 0 || spec.windowNs > kHorizonNs || spec.limit > spec.windowNs) return std::nullopt;
    if (Uint128{spec.burst} * spec.windowNs / spec.limit > kHorizonNs) return std::nullopt;
    if (spec.initial > spec.burst || spec.rememberNs > kHorizonNs) return std::nullopt;
    // Some 8 ns to a unit, or 16 where refilling takes over 73 years, or one token where tokens come faster:
    // capacities stay below 2^58 units, and a time and a bucket in debt together below 2^60.
    const std::uint64_t refillNs = mulDivFloor(spec.burst, spec.windowNs, spec.limit);
    const std::uint64_t most = spec.windowNs / spec.limit / (refillNs > kHorizonNs / 2 ? 16 : 8);
    const std::uint64_t unitsPerToken = most == 0 ? 1 : alignedTicks(spec.limit, spec.windowNs, most);
    Policy policy;
    policy.scale = TimeScale(spec.limit * unitsPerToken, spec.windowNs);
    policy.unitsPerToken = unitsPerToken;
    policy.burst = spec.burst;
    policy.isBase = spec.isBase != 0;
    policy.capacity = spec.burst * unitsPerToken;
    policy.tolerance = policy.scale.at(kClockToleranceNs) + 1;
    policy.wraps = policy.scale.at(kHorizonNs) + 2 * policy.capacity > kPayloadMask;
    policy.evenly = spec.evenly != 0;
    if (spec.initial == 0) return policy;
    policy.remembers = true;
    // Not forgotten in the very moment that a denied call was told to wait for.
    policy.rememberNs = std::max<std::uint64_t>(spec.rememberNs, 1);
    policy.missingAtFirst = (spec.burst - spec.initial) * unitsPerToken;
    const std::uint64_t remembered = policy.scale.atOrAfter(spec.rememberNs);
    if (policy.wraps && remembered > kPayloadMask - 2 * policy.capacity - 2 * kWrapAhead) return std::nullopt;
    return policy;
  }

  // Spends `cost` tokens under policy `asked` if the bucket holds them. A cost of 0 only asks. A key of which
  // nothing is known begins at a charge, also at one that it has too little for, or it would never have more.
  static Step charge(const Book& book, std::uint32_t asked, const Entry& entry, std::uint64_t nowNs,
                     std::uint64_t cost) {
    const Reading reading = readOrBegin(book, asked, entry, nowNs);
    Step step{entry, false, Outcome::kAllowed, 0};
    const Policy& policy = book[asked];
    if (reading.blocked) {
      step.outcome = Outcome::kBlocked;
    } else if (cost > policy.burst) {
      step.outcome = Outcome::kTooCostly;
    } else if (reading.spent + cost * policy.unitsPerToken > policy.capacity && cost != 0) {
      step.outcome = Outcome::kLimited;
    } else if (cost != 0) {
      return spend(policy, asked, nowNs, reading.spent + cost * policy.unitsPerToken, reading.healed);
    }
    step.fromFuture = reading.healed;
    if (reading.begins) {
      step.write = step.outcome == Outcome::kLimited;
      if (step.write) step.next = spend(policy, asked, nowNs, reading.spent, false).next;
    } else if (reading.carriedOver) {
      step.next = spend(policy, asked, nowNs, reading.spent, reading.healed).next;
      step.write = true;
    } else if (reading.healed) {
      step.next = encode(reading.fullAt, entry.meta);
      step.write = true;
    }
    return step;
  }

  // Gives back up to `tokens` that were charged `ageNs` ago: what the bucket has refilled since is not given
  // twice, and a full bucket takes nothing.
  static Step refund(const Book& book, std::uint32_t asked, const Entry& entry, std::uint64_t nowNs,
                     std::uint64_t tokens, std::uint64_t ageNs) {
    Step step{entry, false, Outcome::kAllowed, 0};
    // Under the policy that drains it; under the limiter's own of today, if that has been changed since.
    const std::uint32_t drainIndex = drainOf(entry);
    const std::uint32_t index = book[drainIndex].isBase && book[asked].isBase ? asked : drainIndex;
    const Policy& policy = book[index];
    const std::uint64_t refilled = refilledSince(policy, nowNs, ageNs);
    const Uint128 asking = Uint128{tokens} * policy.unitsPerToken;
    if (asking <= refilled) return step;
    const Reading reading = read(book, index, entry, nowNs);
    const std::uint64_t missing = missingIn(reading, policy);
    const auto credit = static_cast<std::uint64_t>(std::min(asking - refilled, Uint128{missing}));
    if (credit == 0) return step;
    step = spend(policy, index, nowNs, missing - credit, reading.healed);
    if (reading.blocked) step.next = reblock(policy, index, entry, missing - credit);
    step.amount = credit / policy.unitsPerToken;
    return step;
  }

  // Takes up to `tokens`, admitted or not, but never more than `maxDebt` below empty (nor than a whole
  // bucket).
  static Step penalize(const Book& book, std::uint32_t asked, const Entry& entry, std::uint64_t nowNs,
                       std::uint64_t tokens, std::uint64_t maxDebt = 0) {
    const Policy& policy = book[asked];
    const Reading reading = readOrBegin(book, asked, entry, nowNs);
    const std::uint64_t missing = missingIn(reading, policy);
    const std::uint64_t debt = std::min(maxDebt, policy.burst) * policy.unitsPerToken;
    const std::uint64_t wanted = std::min(tokens, 2 * policy.burst) * policy.unitsPerToken;
    const std::uint64_t taken = std::min(wanted, saturatingSub(policy.capacity + debt, missing));
    if (taken == 0) return {entry, false, Outcome::kAllowed, 0};
    Step step = spend(policy, asked, nowNs, missing + taken, reading.healed);
    if (reading.blocked) step.next = reblock(policy, asked, entry, missing + taken);
    step.amount = taken / policy.unitsPerToken;
    return step;
  }

  // Denies everything until `untilNs`. The bucket goes on refilling; what is still missing then is kept. A
  // key of which nothing is known begins here.
  static Step block(const Book& book, std::uint32_t asked, const Entry& entry, std::uint64_t nowNs,
                    std::uint64_t untilNs) {
    Block block{Block::untilMsOf(untilNs), 0};
    if (Block::is(entry) && Block::decode(entry).untilMs >= block.untilMs)
      return {entry, false, Outcome::kBlocked, 0};
    const Reading reading = readOrBegin(book, asked, entry, nowNs);
    // An entry without information is as good as none: the bucket drains as `asked` from here on.
    const bool isNew = reading.begins || !live(book, entry, nowNs);
    const std::uint64_t left = saturatingSub(reading.fullAt, reading.drain->scale.at(block.untilNs()));
    block.spentUnits = blockUnits(*reading.drain, left);
    return {block.encode(isNew ? asked : drainOf(entry)), true, Outcome::kBlocked, 0, reading.healed};
  }

  // What to answer for a call of `cost`, given the entry as it is after the call.
  static Decision describe(const Book& book, std::uint32_t asked, const Entry& entry, std::uint64_t nowNs,
                           std::uint64_t cost, Outcome outcome) {
    const Policy& policy = book[asked];
    const Reading reading = readOrBegin(book, asked, entry, nowNs);
    Decision decision;
    decision.outcome = outcome;
    decision.remaining =
        reading.blocked ? 0 : saturatingSub(policy.capacity, reading.spent) / policy.unitsPerToken;
    decision.resetAfterNs = saturatingSub(reading.drain->scale.firstNsAt(reading.fullAt), nowNs);
    if (outcome == Outcome::kBlocked) {
      decision.retryAfterNs = saturatingSub(Block::decode(entry).untilNs(), nowNs);
      decision.resetAfterNs = std::max(decision.resetAfterNs, decision.retryAfterNs);
    }
    if (outcome == Outcome::kTooCostly) decision.retryAfterNs = kNever;
    if (outcome == Outcome::kLimited) decision.retryAfterNs = waitFor(policy, reading, nowNs, cost);
    if (outcome == Outcome::kAllowed && policy.evenly) decision.delayNs = delayOf(reading, nowNs, cost);
    return decision;
  }

  static bool live(const Book& book, const Entry& entry, std::uint64_t nowNs) {
    return known(read(book, drainOf(entry), entry, nowNs), nowNs);
  }

  static Weight weigh(const Book& book, const Entry& entry, std::uint64_t nowNs) {
    const std::uint32_t drainIndex = drainOf(entry);
    // What is left under the limiter's own policy of today, if it has been changed since.
    const std::uint32_t index = book[drainIndex].isBase ? book.base() : drainIndex;
    const Policy& policy = book[index];
    const Reading reading = read(book, index, entry, nowNs);
    if (reading.blocked) return {true, 1, Block::decode(entry).untilNs()};
    // Which tier the key belongs to is not known: judge it by the strictest, so that none that limits is
    // dropped.
    const std::uint64_t strictest = book.strictest();
    const auto capacity = static_cast<double>(strictest) * static_cast<double>(policy.unitsPerToken);
    const std::uint64_t mayBeSpent = mulDivFloor(strictest - 1, policy.unitsPerToken, 1, kMaxUnits);
    Weight weight;
    weight.consumed = static_cast<double>(reading.spent) / capacity;
    weight.limiting = reading.spent > mayBeSpent;
    if (weight.limiting) {
      const std::uint64_t present = policy.scale.at(nowNs);
      weight.limitingUntilNs = std::max(nowNs, policy.scale.firstNsAt(present + reading.spent - mayBeSpent));
    }
    return weight;
  }

  // The present, known only to lie in [low, high], as seen by one policy: enough to decide most calls on a
  // busy key without asking the exact (and dearer) clock.
  struct Frame {
    std::uint64_t low = 0, high = 0;  // in units
    std::uint64_t unitsPerToken = 0, burst = 0, capacity = 0;
    std::uint64_t leastPayload = 0;  // an emptier entry may be that of an unknown key
    std::uint32_t asked = kNoMeta;   // the meta of entries it can decide, or that of none
  };
  static Frame frame(const Book& book, std::uint32_t asked, std::uint64_t lowNs, std::uint64_t highNs) {
    const Policy& policy = book[asked];
    const std::uint64_t low = policy.scale.at(lowNs);
    const bool isOrigin = policy.missingAtFirst != 0 && low == 0;  // where nothing known looks like just full
    return {low,
            policy.scale.at(highNs),
            policy.unitsPerToken,
            policy.burst,
            policy.capacity,
            policy.missingAtFirst != 0 ? low + 1 : 0,
            policy.wraps || isOrigin ? kNoMeta : asked};
  }
  // `charge`, if it comes out the same at every time within the frame. Never heals.
  static Verdict chargeWithin(const Frame& frame, const Entry& entry, std::uint64_t cost) {
    if (entry.meta != frame.asked || cost - 1 >= frame.burst) return {};
    const std::uint64_t fullAt = entry.payload;
    const std::uint64_t next = fullAt + cost * frame.unitsPerToken;
    if (fullAt < frame.high || fullAt > frame.high + frame.capacity) return {};
    if (next <= frame.low + frame.capacity) return {Verdict::Kind::kAdmit, encode(next, entry.meta).payload};
    if (next > frame.high + frame.capacity) return {Verdict::Kind::kRefuse, 0};
    return {};
  }

  // `charge` at the one time of a frame of no width, if it admits; else nothing. `left` is what is left then.
  static Verdict admitAt(const Frame& frame, const Entry& entry, std::uint64_t cost, std::uint64_t* left) {
    if (entry.meta != frame.asked || entry.payload < frame.leastPayload || cost - 1 >= frame.burst) return {};
    const std::uint64_t spent = saturatingSub(entry.payload, frame.low) + cost * frame.unitsPerToken;
    if (spent > frame.capacity) return {};
    *left = (frame.capacity - spent) / frame.unitsPerToken;
    return {Verdict::Kind::kAdmit, encode(frame.low + spent, entry.meta).payload};
  }

 private:
  static constexpr std::uint32_t kNoMeta = kMetaMask + 1;  // what no entry has
  static constexpr std::uint32_t kDebtFlag = kBlockedFlag >> 1;
  static_assert(PolicyList::kMax <= kDebtFlag);
  static constexpr std::uint64_t kMaxUnits = std::uint64_t{1} << 61;

  // A payload of 0 is a full bucket, and the pattern that marks a claimed slot is left out: a later time that
  // ends in either counts as one unit off.
  static constexpr Entry encode(std::uint64_t fullAt, std::uint32_t meta) {
    const std::uint64_t payload = fullAt & kPayloadMask;
    if (payload == kPayloadMask) return {payload - 1, meta};
    return {payload == 0 && fullAt != 0 ? 1 : payload, meta};
  }
  // The policy that drains the bucket.
  static constexpr std::uint32_t drainOf(const Entry& entry) { return Block::ownMeta(entry) & ~kDebtFlag; }

  // Times of a policy that wraps stand for the last past one that ends in the same 60 bits, which is a full
  // bucket, or for one that a charge up to 78 hours ahead of the present could have written. (At 10^9 tokens
  // a second times wrap in 36 years. A bucket that was left alone for a multiple of that may be taken for an
  // empty one, or for one that was full just now.)
  static constexpr std::uint64_t decode(const Policy& policy, std::uint64_t payload, std::uint64_t present) {
    if (!policy.wraps || payload == 0) return payload;
    const std::uint64_t ahead = (payload - present) & kPayloadMask;
    if (ahead <= 2 * policy.capacity + kWrapAhead) return present + ahead;
    return saturatingSub(present, (present - payload) & kPayloadMask);
  }
  static constexpr std::uint64_t kWrapAhead = std::uint64_t{1} << 48;

  // An entry as policy `asked` sees it.
  struct Reading {
    const Policy* drain;  // whose units `fullAt` is in
    std::uint64_t fullAt;
    std::uint64_t spent;       // in units of `asked`, rounded up
    std::uint64_t spentAtEnd;  // of a block; in units of `drain`
    bool healed;               // fullAt was brought back from an impossible future
    bool carriedOver;          // the limiter's policy has changed since the entry was written
    bool blocked;
    bool begins = false;  // nothing is known of the key: it is as policy `asked` has it begin now
  };

  static Reading readOrBegin(const Book& book, std::uint32_t asked, const Entry& entry, std::uint64_t nowNs) {
    Reading reading = read(book, asked, entry, nowNs);
    const Policy& policy = book[asked];
    if (policy.missingAtFirst == 0 || known(reading, nowNs)) return reading;
    reading.drain = &policy;
    reading.fullAt = policy.scale.at(nowNs) + policy.missingAtFirst;
    reading.spent = policy.missingAtFirst;
    reading.begins = true;
    return reading;
  }

  // Whether the entry says more than none would.
  static bool known(const Reading& reading, std::uint64_t nowNs) {
    if (reading.blocked || reading.spent > 0) return true;
    if (!reading.drain->remembers || reading.fullAt == 0) return false;
    return std::min(nowNs, kHorizonNs) <
           reading.drain->scale.firstNsAt(reading.fullAt) + reading.drain->rememberNs;
  }

  static Reading read(const Book& book, std::uint32_t asked, const Entry& entry, std::uint64_t nowNs) {
    const std::uint32_t drainIndex = drainOf(entry);
    const Policy& drain = book[drainIndex];
    const std::uint64_t present = drain.scale.at(nowNs);
    Reading reading{&drain, decode(drain, entry.payload, present), 0, 0, false, false, false};
    if (Block::is(entry)) {
      const Block block = Block::decode(entry);
      const std::uint64_t end = drain.scale.at(block.untilNs());
      reading.spentAtEnd =
          mulDivCeil(block.spentUnits, drain.unitsPerToken, Block::kUnitsPerToken, 2 * drain.capacity);
      reading.fullAt = end + reading.spentAtEnd;
      reading.blocked = block.active(nowNs);
    } else if (reading.fullAt > present + drain.capacity + drain.tolerance) [[unlikely]] {
      const std::uint64_t deepest = (entry.meta & kDebtFlag) != 0 ? 2 * drain.capacity : drain.capacity;
      reading.healed = reading.fullAt > present + deepest + drain.tolerance;
      if (reading.healed) reading.fullAt = present + deepest;
    }
    reading.spent = saturatingSub(reading.fullAt, present);
    if (drainIndex == asked) return reading;
    const Policy& policy = book[asked];
    if (policy.isQueue) {
      reading.spent = bookedUnder(policy, reading, nowNs);
      return reading;
    }
    reading.carriedOver = drain.isBase && policy.isBase && !reading.blocked && reading.spent != 0;
    reading.spent = spentUnder(policy, drain, reading.spent);
    return reading;
  }

  // What a queue that drains under one policy is under another one: calls that were told their times keep
  // them, and the next one comes after them.
  static std::uint64_t bookedUnder(const Policy& to, const Reading& reading, std::uint64_t nowNs) {
    if (reading.spent == 0) return 0;
    const std::uint64_t emptyAt = to.scale.atOrAfter(reading.drain->scale.firstNsAt(reading.fullAt));
    return std::min(saturatingSub(emptyAt, to.scale.at(nowNs)), kMaxUnits);
  }

  // The same block, at whose end `spentAtEnd` will be missing and drain under the policy of that index.
  static Entry reblock(const Policy& policy, std::uint32_t index, const Entry& entry,
                       std::uint64_t spentAtEnd) {
    return Block{Block::decode(entry).untilMs, blockUnits(policy, spentAtEnd)}.encode(index);
  }
  // Bounded by what a block can hold, which is 2^54 tokens less 0.03 %.
  static std::uint64_t blockUnits(const Policy& policy, std::uint64_t units) {
    constexpr std::uint64_t kMostUnits = std::uint64_t{0xfff} << 52;
    return mulDivCeil(units, Block::kUnitsPerToken, policy.unitsPerToken, kMostUnits);
  }

  // What has been spent under one policy, as another sees it. A key that moves between tiers keeps the number
  // of tokens it has spent. When the limiter's own policy is changed, a key keeps what it has left if the new
  // bucket is larger, so that nothing is handed out, and what it has spent if that is smaller, so that there
  // and back again hands out nothing either. A debt is kept, up to the new capacity.
  static std::uint64_t spentUnder(const Policy& to, const Policy& from, std::uint64_t units) {
    const std::uint64_t spent = mulDivCeil(units, to.unitsPerToken, from.unitsPerToken, kMaxUnits);
    if (!from.isBase || !to.isBase || units == 0) return spent;
    if (units > from.capacity) {
      return to.capacity +
             mulDivCeil(units - from.capacity, to.unitsPerToken, from.unitsPerToken, to.capacity);
    }
    return std::min(spent + addedByMove(to, from), to.capacity);
  }
  static std::uint64_t addedByMove(const Policy& to, const Policy& from) {
    return from.isBase && to.isBase ? saturatingSub(to.burst, from.burst) * to.unitsPerToken : 0;
  }

  static Step spend(const Policy& policy, std::uint32_t index, std::uint64_t nowNs, std::uint64_t spent,
                    bool fromFuture) {
    std::uint64_t fullAt = policy.scale.at(nowNs) + spent;
    if (fullAt == 0 && policy.remembers) fullAt = 1;  // at the table's origin: 0 is what nothing is known of
    const std::uint32_t meta = spent > policy.capacity ? index | kDebtFlag : index;
    return {encode(fullAt, meta), true, Outcome::kAllowed, 0, fromFuture};
  }

  // What is missing now, or, of a blocked bucket, at the end of the block.
  static std::uint64_t missingIn(const Reading& reading, const Policy& asked) {
    if (!reading.blocked) return reading.spent;
    if (asked.isQueue && reading.drain != &asked) {
      const std::uint64_t end = reading.fullAt - reading.spentAtEnd;
      return reading.spentAtEnd == 0 ? 0 : bookedUnder(asked, reading, reading.drain->scale.firstNsAt(end));
    }
    return spentUnder(asked, *reading.drain, reading.spentAtEnd);
  }

  // What refilled in the last `ageNs`, rounded up; also if that began before the table did.
  static std::uint64_t refilledSince(const Policy& policy, std::uint64_t nowNs, std::uint64_t ageNs) {
    if (ageNs == 0) return 0;
    if (ageNs > nowNs) return policy.scale.atOrAfter(ageNs);
    return policy.scale.atOrAfter(nowNs) - policy.scale.at(nowNs - ageNs);
  }

  // Until `cost` fits, if nobody touches the entry: what is spent goes on draining as it does, and what the
  // move to the asking policy adds to it stays until nothing is spent.
  static std::uint64_t waitFor(const Policy& policy, const Reading& reading, std::uint64_t nowNs,
                               std::uint64_t cost) {
    if (policy.isQueue && reading.drain != &policy) {
      const std::uint64_t emptyAt = policy.scale.atOrAfter(reading.drain->scale.firstNsAt(reading.fullAt));
      const std::uint64_t mayBeBooked = policy.capacity - cost * policy.unitsPerToken;
      return saturatingSub(policy.scale.firstNsAt(saturatingSub(emptyAt, mayBeBooked)), nowNs);
    }
    const std::uint64_t room =
        saturatingSub(policy.capacity - cost * policy.unitsPerToken, addedByMove(policy, *reading.drain));
    const std::uint64_t mayRemain = mulDivFloor(room, reading.drain->unitsPerToken, policy.unitsPerToken);
    return saturatingSub(reading.drain->scale.firstNsAt(saturatingSub(reading.fullAt, mayRemain)), nowNs);
  }

  // Until all is refilled that was missing before a call of `cost`, of which the entry knows already.
  static std::uint64_t delayOf(const Reading& reading, std::uint64_t nowNs, std::uint64_t cost) {
    const std::uint64_t before = saturatingSub(reading.fullAt, cost * reading.drain->unitsPerToken);
    return saturatingSub(reading.drain->scale.firstNsAt(before), nowNs);
  }
};

}  // namespace sluice
