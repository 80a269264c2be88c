// Leaky bucket, as a queue: calls are admitted as long as there is room, and each is told when it may go out,
// one after the other at a fixed rate. The queue itself is nowhere: it is what a token bucket has spent,
// whose burst is the room, and refilling is the leak.
#pragma once

#include "core/token_bucket.h"

namespace sluice {

// What is not said otherwise here is as in TokenBucket. Neither `initial` nor `evenly` have a meaning.
class LeakyBucket : public TokenBucket {
 public:
  static constexpr std::uint64_t kId = 6;
  static constexpr bool kPaces = true;

  class Book : public TokenBucket::Book {
   public:
    Book() : TokenBucket::Book(OfQueues{}) {}
    static std::optional<Book> make(const BookOptions&) { return Book(); }
  };

  // `charge` for one that cannot wait: only if it may go out now. A cost of 0 only asks whether it is
  // blocked.
  static Step chargeNow(const Book& book, std::uint32_t asked, const Entry& entry, std::uint64_t nowNs,
                        std::uint64_t cost) {
    if (cost == 0 || !live(book, entry, nowNs)) return charge(book, asked, entry, nowNs, cost);
    // Something is queued, or it is blocked: whatever charging nothing does to the entry, and no more.
    Step step = charge(book, asked, entry, nowNs, cost > book[asked].burst ? cost : 0);
    if (step.outcome == Outcome::kAllowed) step.outcome = Outcome::kLimited;
    return step;
  }

  // `chargeNow`, if it comes out the same at every time within the frame; only refusals do.
  static Verdict chargeNowWithin(const Frame& frame, const Entry& entry, std::uint64_t cost) {
    if (entry.meta != frame.asked || cost - 1 >= frame.burst) return {};
    if (entry.payload <= frame.high || entry.payload > frame.high + frame.capacity) return {};
    return {Verdict::Kind::kRefuse, 0};
  }

  // Gives back nothing: the calls behind have been told their times, and the next one would go out together
  // with one of them.
  static Step refund(const Book&, std::uint32_t, const Entry& entry, std::uint64_t, std::uint64_t,
                     std::uint64_t) {
    return {entry, false, Outcome::kAllowed, 0};
  }
};

}  // namespace sluice
