// Blocks as they are stored: until when, and how much is spent at their end, within the rounding that block.h
// states.
#include "core/block.h"

#include "random.h"

using check::Random;
using sluice::Block;
using sluice::Entry;
using sluice::kHorizonNs;
using sluice::kNsPerMs;

namespace {

constexpr std::uint64_t kMaxSpentUnits = (sluice::kMaxTokens + 1) * Block::kUnitsPerToken;

bool roundsWithinBounds(std::uint64_t untilMs, std::uint64_t spentUnits) {
  const Entry entry = Block{untilMs, spentUnits}.encode(0);
  const Block decoded = Block::decode(entry);
  const bool fine = CHECK_EQ(decoded.untilMs, untilMs) && CHECK(decoded.spentUnits >= spentUnits) &&
                    CHECK(spentUnits > 0xfff || decoded.spentUnits == spentUnits) &&
                    CHECK(decoded.spentUnits - spentUnits <= spentUnits / 2048) && CHECK(Block::is(entry)) &&
                    CHECK(entry.payload < sluice::kPayloadMask);
  if (!fine) check::note("untilMs, spentUnits:", untilMs, spentUnits);
  return fine;
}

}  // namespace

TEST(small_amounts_are_exact) {
  for (std::uint64_t units = 0; units <= 0xfff; ++units)
    CHECK_EQ(Block::decode(Block{1, units}.encode(0)).spentUnits, units);
}

TEST(whole_tokens_up_to_4095_are_exact) {
  for (std::uint64_t tokens = 0; tokens <= 4095; ++tokens) {
    const std::uint64_t units = tokens * Block::kUnitsPerToken;
    CHECK_EQ(Block::decode(Block{1, units}.encode(0)).spentUnits, units);
  }
}

TEST(amounts_round_up_by_less_than_one_in_2048) {
  Random random = check::seeded("block amounts", 1);
  for (int i = 0; i < check::scaled(1'000'000); ++i) {
    if (!roundsWithinBounds(random.between(0, Block::kMaxUntilMs), random.magnitude(kMaxSpentUnits))) return;
  }
}

TEST(amounts_around_powers_of_two_round_within_bounds) {
  for (unsigned bit = 0; bit <= 63; ++bit) {
    const std::uint64_t power = std::uint64_t{1} << bit;
    for (const std::uint64_t units :
         {power - 1, power, power + 1, power + power / 2048, power + power / 2048 + 1}) {
      if (units <= kMaxSpentUnits) CHECK(roundsWithinBounds(5, units));
    }
  }
  CHECK(roundsWithinBounds(Block::kMaxUntilMs, kMaxSpentUnits));
}

TEST(a_rounded_amount_is_not_rounded_again) {
  Random random = check::seeded("block again", 2);
  for (int i = 0; i < check::scaled(200'000); ++i) {
    const Block once = Block::decode(Block{9, random.magnitude(kMaxSpentUnits)}.encode(0));
    if (!CHECK_EQ(Block::decode(once.encode(0)).spentUnits, once.spentUnits)) return;
  }
}

TEST(the_algorithms_meta_survives) {
  for (std::uint32_t meta = 0; meta < sluice::kBlockedFlag; ++meta) {
    const Entry entry = Block{77, 88}.encode(meta);
    CHECK(Block::is(entry) && entry.meta <= sluice::kMetaMask);
    CHECK_EQ(Block::ownMeta(entry), meta);
    CHECK(!Block::is(Entry{entry.payload, meta}));
  }
}

TEST(an_end_out_of_reach_is_the_last_one) {
  for (const std::uint64_t untilMs :
       {Block::kMaxUntilMs, Block::kMaxUntilMs + 1, std::uint64_t{1} << 50, ~std::uint64_t{0}}) {
    for (const std::uint64_t spent : {std::uint64_t{0}, std::uint64_t{1}, kMaxSpentUnits}) {
      const Entry entry = Block{untilMs, spent}.encode(0);
      CHECK_EQ(Block::decode(entry).untilMs, Block::kMaxUntilMs);
      CHECK(entry.payload < sluice::kPayloadMask);  // never looks like a claimed slot
    }
  }
}

TEST(a_block_is_in_force_before_its_end) {
  constexpr Block block{1500, 0};
  static_assert(block.untilNs() == 1500 * kNsPerMs);
  CHECK(block.active(0) && block.active(1500 * kNsPerMs - 1));
  CHECK(!block.active(1500 * kNsPerMs) && !block.active(kHorizonNs));
  CHECK_EQ((Block{~std::uint64_t{0} >> 1, 0}.untilNs()), kHorizonNs);
}

TEST(ends_round_up_to_whole_milliseconds) {
  CHECK_EQ(Block::untilMsOf(0), 0);
  CHECK_EQ(Block::untilMsOf(1), 1);
  CHECK_EQ(Block::untilMsOf(kNsPerMs), 1);
  CHECK_EQ(Block::untilMsOf(kNsPerMs + 1), 2);
  CHECK_EQ(Block::untilMsOf(kHorizonNs), kHorizonNs / kNsPerMs + 1);
}
