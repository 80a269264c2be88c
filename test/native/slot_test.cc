// How a slot's two words are packed, and what the three steps of a claim leave behind.
#include "core/slot.h"

#include "random.h"

using check::Random;
using sluice::KeyWord;
using sluice::Slot;
using sluice::StateWord;

namespace {

constexpr std::uint64_t kMaxFingerprint = (std::uint64_t{1} << sluice::kFingerprintBits) - 1;

// A key word gives back what it was made of.
bool roundTrips(std::uint64_t fingerprint, std::uint32_t meta, unsigned distance, unsigned overflow) {
  const KeyWord word = KeyWord::make(fingerprint, meta, distance, overflow);
  return CHECK_EQ(word.fingerprint(), fingerprint) && CHECK_EQ(word.meta(), meta) &&
         CHECK_EQ(word.distance(), distance) && CHECK_EQ(word.overflow(), overflow) &&
         CHECK_EQ(word.occupied(), fingerprint != 0);
}

void put(Slot& slot, std::uint64_t key, std::uint64_t state) {
  slot.key.store(key);
  slot.state.store(state);
}

}  // namespace

TEST(key_words_round_trip) {
  for (const std::uint64_t fingerprint : {std::uint64_t{0}, std::uint64_t{1}, kMaxFingerprint}) {
    for (const std::uint32_t meta : {0U, 1U, sluice::kBlockedFlag, sluice::kMetaMask}) {
      for (const unsigned distance : {0U, 1U, 15U}) {
        for (const unsigned overflow : {0U, 1U, sluice::kMaxOverflow})
          CHECK(roundTrips(fingerprint, meta, distance, overflow));
      }
    }
  }
  Random random = check::seeded("slot key words", 1);
  for (int i = 0; i < check::scaled(200'000); ++i) {
    const auto small = static_cast<unsigned>(random.next() & 0xff);
    if (!roundTrips(random.between(0, kMaxFingerprint), static_cast<std::uint32_t>(random.below(4096)),
                    small & 15, small >> 4))
      return;
  }
}

TEST(key_word_fields_fill_the_word) {
  CHECK_EQ(KeyWord::make(kMaxFingerprint, sluice::kMetaMask, 15, 15).bits, ~std::uint64_t{0});
  CHECK_EQ(KeyWord{}.bits, 0);
  CHECK(!KeyWord{}.occupied());
}

TEST(state_words_round_trip) {
  Random random = check::seeded("slot state words", 2);
  for (int i = 0; i < check::scaled(200'000); ++i) {
    const StateWord before{random.next()};
    const std::uint64_t payload = random.next() >> 4;
    const StateWord after = before.with(payload);
    if (!CHECK_EQ(after.payload(), payload) || !CHECK_EQ(after.bits & 15, before.bits & 15)) return;
  }
}

TEST(a_claim_marks_the_state_and_raises_the_generation) {
  for (std::uint64_t generation = 0; generation < 16; ++generation) {
    for (const std::uint64_t payload : {std::uint64_t{0}, std::uint64_t{12345}, sluice::kPayloadMask - 1}) {
      const StateWord state{payload << 4 | generation};
      CHECK(!state.claimed());
      CHECK(state.claim().claimed());
      CHECK_EQ(state.claim().bits & 15, (generation + 1) % 16);
      CHECK_EQ(state.claim().with(payload).payload(), payload);
      CHECK(state.claim().with(payload).bits != state.bits);
    }
  }
}

TEST(generations_repeat_only_after_sixteen_claims) {
  StateWord state{42 << 4};
  for (int claims = 1; claims < 16; ++claims) {
    state = state.claim().with(42);
    CHECK(state.bits != 42 << 4);
  }
  CHECK_EQ(state.claim().with(42).bits, 42 << 4);
}

TEST(a_swap_succeeds_only_on_the_expected_state) {
  Slot slot;
  put(slot, 0, 100 << 4);
  StateWord expected{100 << 4};
  while (!slot.swapState(expected, expected.with(101))) CHECK_EQ(expected.payload(), 100);
  CHECK_EQ(slot.loadState().payload(), 101);
  StateWord stale{100 << 4};
  CHECK(!slot.swapState(stale, stale.with(200)));
  CHECK_EQ(stale.payload(), 101);  // it reports what is there
  CHECK_EQ(slot.loadState().payload(), 101);
}

TEST(a_claim_is_claimed_stored_and_published) {
  Slot slot;
  put(slot, KeyWord::make(1, 0, 0, 0).bits, 100 << 4 | 3);
  StateWord expected = slot.loadState();
  CHECK(slot.claim(expected));
  CHECK_EQ(slot.loadState().bits, expected.claim().bits);
  slot.storeKey(KeyWord::make(2, 7, 1, 0));
  slot.publish(expected.claim(), 55);
  CHECK_EQ(slot.loadKey().fingerprint(), 2);
  CHECK_EQ(slot.loadState().payload(), 55);
  CHECK_EQ(slot.loadState().bits & 15, 4);
  StateWord old{100 << 4 | 3};
  CHECK(!slot.claim(old));
}

TEST(sizes_are_what_the_layout_promises) {
  CHECK_EQ(sizeof(Slot), 16);
  CHECK_EQ(sizeof(sluice::Line), 64);
  CHECK_EQ(alignof(sluice::Line), 64);
  CHECK_EQ(sluice::kFingerprintBits + sluice::kMetaBits + 4 + 4, 64);
}
