// Every interleaving of the slot protocol, with three claims and two updaters or readers: no updater changes
// and no reader answers from a state that is not its key's. And each rule of the protocol is needed: without
// it, that happens.
#include "protocol_model.h"

#include "check.h"

using protocol::Checker;
using protocol::Claim;
using protocol::Rules;
using protocol::Updater;
using protocol::World;

namespace {

constexpr std::uint64_t kA = 1, kB = 2;

Updater writer(std::uint64_t key) { return {.me = key, .writes = 1, .owner = {}}; }
Updater reader(std::uint64_t key) { return {.me = key, .writes = 0, .owner = {}}; }

// The slot is A's, with a payload of 0.
World worldOf(const std::array<Updater, 2>& updaters, const std::array<Claim, 3>& claims) {
  World world{};
  world.memory.key = sluice::KeyWord::make(kA, 0, 0, 0).bits;
  world.memory.owner = {kA, 0};
  world.updaters = updaters;
  world.claimer.claims = claims;
  return world;
}

const std::vector<std::array<Updater, 2>>& casts() {
  static const std::vector<std::array<Updater, 2>> all = {
      {writer(kA), writer(kA)}, {writer(kA), writer(kB)}, {writer(kA), reader(kA)},
      {writer(kA), reader(kB)}, {writer(kB), reader(kA)}, {reader(kA), reader(kB)},
  };
  return all;
}

struct Result {
  std::optional<std::string> violation;
  std::size_t worlds = 0;
};

// All sequences of three claims, until one breaks the protocol.
Result tryEverything(const Rules& rules) {
  Result result;
  for (const auto& cast : casts()) {
    for (std::uint64_t i = 0; i < 64 && !result.violation; ++i) {
      const auto claim = [](std::uint64_t n) { return static_cast<Claim>(n % 4 + 1); };
      Checker checker(rules);
      result.violation = checker.findViolation(worldOf(cast, {claim(i / 16), claim(i / 4), claim(i)}));
      result.worlds += checker.worlds();
    }
  }
  return result;
}

void mustFail(const char* without, const Rules& rules) {
  const Result result = tryEverything(rules);
  if (CHECK(result.violation.has_value())) check::note(without, *result.violation);
}

}  // namespace

TEST(the_protocol_holds_in_every_interleaving) {
  const Result result = tryEverything({});
  CHECK_EQ(result.violation.value_or("none"), "none");
  CHECK(result.worlds > 100'000);
  check::note("worlds tried:", result.worlds);
}

TEST(without_generations_it_breaks) { mustFail("no generation:", {.claimsRaiseTheGeneration = false}); }
TEST(without_swapping_the_claim_in_it_breaks) { mustFail("claim stored:", {.claimsAreSwaps = false}); }
TEST(with_the_key_changed_before_the_claim_it_breaks) {
  mustFail("key before claim:", {.keyChangesAfterTheClaim = false});
}
TEST(with_the_key_changed_after_the_publication_it_breaks) {
  mustFail("key after publication:", {.keyChangesBeforeThePublication = false});
}
TEST(with_the_key_loaded_before_the_state_it_breaks) {
  mustFail("key loaded first:", {.stateIsLoadedBeforeTheKey = false});
}
TEST(without_the_readers_second_load_it_breaks) {
  mustFail("no second load:", {.readersReloadTheState = false});
}
TEST(with_claimed_states_updated_it_breaks) {
  mustFail("claims ignored:", {.claimedStatesAreLeftAlone = false});
}
TEST(with_a_stale_key_after_a_failed_swap_it_breaks) {
  mustFail("stale key:", {.failedSwapsAcquire = false});
}
