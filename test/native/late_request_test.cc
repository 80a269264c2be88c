// A thread may be stopped after it has read the clock, for longer than any step back of a clock that is
// waited out. When it goes on, what others have written meanwhile looks to it like an impossible future. It
// must not be healed: it is the present.
#include "shared_tables.h"

using check::craftedKey;
using check::kDay;
using check::kLimit;
using check::smallRegion;
using sluice::FixedWindow;
using sluice::kNsPerSecond;
using sluice::Later;
using sluice::Outcome;
using sluice::Region;
using sluice::Request;
using sluice::Table;
using sluice::TokenBucket;

namespace {

// When the late one read the clock, and what the clock says when it goes on.
constexpr std::uint64_t kReadNs = 100 * kNsPerSecond;
constexpr std::uint64_t kPresentNs = kReadNs + 40 * kDay;

std::uint64_t readPresent(const void*) { return kPresentNs; }

template <class Algorithm>
class Late {
 public:
  Late() : table_(Table<Algorithm>::attach(Region::allocate(smallRegion<Algorithm>()))) {}

  Request<Algorithm> late() const {
    return {*table_, craftedKey(0, 1), 0, kReadNs, Later{readPresent, nullptr}};
  }
  Request<Algorithm> inTime() const { return {*table_, craftedKey(0, 1), 0, kPresentNs}; }
  // Of a clock that cannot be read again.
  Request<Algorithm> steppedBack() const { return {*table_, craftedKey(0, 1), 0, kReadNs}; }

  void exhaust() const { CHECK_EQ(sluice::allow(inTime(), kLimit), Outcome::kAllowed); }
  void isExhausted() const {
    const auto decision = sluice::peek(inTime());
    CHECK_EQ(decision.outcome, Outcome::kLimited);
    CHECK_EQ(decision.remaining, 0);
  }

 private:
  std::unique_ptr<Table<Algorithm>> table_;
};

template <class Algorithm>
void nothingIsHealed() {
  const Late<Algorithm> key;
  key.exhaust();
  CHECK_EQ(sluice::allow(key.late(), 1), Outcome::kLimited);
  key.isExhausted();
  const auto decision = sluice::consume(key.late(), 1);
  CHECK_EQ(decision.outcome, Outcome::kLimited);
  CHECK_EQ(decision.retryAfterNs, sluice::consume(key.inTime(), 1).retryAfterNs);
  CHECK_EQ(sluice::peek(key.late()).outcome, Outcome::kLimited);
  CHECK_EQ(sluice::penalize(key.late(), 5), 0);
  key.isExhausted();
  CHECK_EQ(sluice::refund(key.late(), 1, 0), 1);
  CHECK_EQ(sluice::consume(key.inTime(), 1).remaining, 0);
  key.isExhausted();
  CHECK(sluice::block(key.late(), kPresentNs + kDay));
  CHECK_EQ(sluice::peek(key.inTime()).outcome, Outcome::kBlocked);
}

// What cannot be read again is taken as it is: a clock that was set back.
template <class Algorithm>
void aClockThatWasSetBackLocksNobodyOut() {
  const Late<Algorithm> key;
  key.exhaust();
  const auto decision = sluice::consume(key.steppedBack(), 1);
  CHECK_EQ(decision.outcome, Outcome::kLimited);
  CHECK(decision.resetAfterNs <= kLimit * kDay);
}

}  // namespace

TEST(a_late_request_heals_no_bucket) { nothingIsHealed<TokenBucket>(); }
TEST(a_late_request_heals_no_window) { nothingIsHealed<FixedWindow>(); }
TEST(a_bucket_of_a_clock_that_was_set_back) { aClockThatWasSetBackLocksNobodyOut<TokenBucket>(); }
TEST(a_window_of_a_clock_that_was_set_back) { aClockThatWasSetBackLocksNobodyOut<FixedWindow>(); }
