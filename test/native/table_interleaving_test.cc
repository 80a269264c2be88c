// What happens to a key while an operation on it is under way, at the one point where a test can step in: the
// operation has been given an entry, and its result is not stored yet. Nothing may come of a result that has
// been overtaken.
#include "core/fixed_window.h"
#include "core/table.h"

#include <functional>

#include "table_keys.h"

using check::craftedKey;
using sluice::Entry;
using sluice::FixedWindow;
using sluice::kNsPerSecond;
using sluice::Outcome;
using sluice::Path;
using sluice::Step;
using sluice::Table;
using sluice::Verdict;
using Key = check::TableKey<FixedWindow>;

namespace {

constexpr std::uint64_t kNow = kNsPerSecond;
constexpr std::uint64_t kLimit = 10;

// Two keys that want the same slot. `one` has it, with a count of 3.
struct Scene {
  std::unique_ptr<Table<FixedWindow>> table;
  Path path = craftedKey(0, 1);
  Key one, other;

  Scene() : table(makeTable()), one(*table, path), other(*table, craftedKey(0, 2)) {
    CHECK_EQ(one.allow(kNow, 3), Outcome::kAllowed);
  }
  static std::unique_ptr<Table<FixedWindow>> makeTable() {
    FixedWindow::Book book =
        *FixedWindow::Book::make(60 * kNsPerSecond, kLimit, FixedWindow::Align::kFirstRequest);
    CHECK(book.add({kLimit}).has_value());
    return check::makeTable<FixedWindow>(40, 1, std::move(book));
  }

  // Charges `cost` to `one`; `meanwhile` happens after the first look at the entry. How often it looked is
  // counted.
  Outcome chargeWhile(const std::function<void()>& meanwhile, std::uint64_t cost = 1) {
    looks = 0;
    return table
        ->apply(path, kNow,
                [&](const Entry& entry) {
                  const Step step = FixedWindow::charge(table->book(), 0, entry, kNow, cost);
                  if (++looks == 1) meanwhile();
                  return step;
                })
        .step.outcome;
  }
  // The same by the short way.
  Verdict::Kind decideWhile(const std::function<void()>& meanwhile) {
    looks = 0;
    const auto frame = FixedWindow::frame(table->book(), 0, kNow, kNow);
    return table->decide(path, [&](const Entry& entry) {
      const Verdict verdict = FixedWindow::chargeWithin(frame, entry, 1);
      if (++looks == 1) meanwhile();
      return verdict;
    });
  }
  std::uint64_t spentOf(Key& key) const { return kLimit - key.peek(kNow).remaining; }
  // Gives the slot to `other`, with the very state that `one` had.
  void handOver() {
    CHECK(one.reset(kNow));
    CHECK_EQ(other.allow(kNow, 3), Outcome::kAllowed);
  }

  int looks = 0;
};

}  // namespace

TEST(nothing_happens_and_one_look_is_enough) {
  Scene scene;
  CHECK_EQ(scene.chargeWhile([] {}), Outcome::kAllowed);
  CHECK_EQ(scene.looks, 1);
  CHECK_EQ(scene.spentOf(scene.one), 4);
}

TEST(a_charge_does_not_land_on_the_key_that_has_taken_the_slot) {
  Scene scene;
  CHECK_EQ(scene.chargeWhile([&] { scene.handOver(); }), Outcome::kAllowed);
  CHECK_EQ(scene.spentOf(scene.one), 1);  // a new entry, elsewhere
  CHECK_EQ(scene.spentOf(scene.other), 3);
  CHECK(scene.table->consistent());
}

TEST(a_short_charge_does_not_land_on_the_key_that_has_taken_the_slot) {
  Scene scene;
  CHECK(scene.decideWhile([&] { scene.handOver(); }) == Verdict::Kind::kUnsure);
  CHECK_EQ(scene.spentOf(scene.one), 0);
  CHECK_EQ(scene.spentOf(scene.other), 3);
}

TEST(a_charge_does_not_land_on_a_later_entry_of_the_same_key) {
  for (int times = 1; times <= 7; ++times) {  // two claims each; sixteen would wrap the generation
    Scene scene;
    const Outcome outcome = scene.chargeWhile([&] {
      for (int i = 0; i < times; ++i) {
        CHECK(scene.one.reset(kNow));
        CHECK_EQ(scene.one.allow(kNow, 3), Outcome::kAllowed);
      }
    });
    CHECK_EQ(outcome, Outcome::kAllowed);
    CHECK_EQ(scene.looks, 2);
    CHECK_EQ(scene.spentOf(scene.one), 4);
  }
}

TEST(a_charge_counts_what_others_charged_meanwhile) {
  Scene scene;
  CHECK_EQ(scene.chargeWhile([&] { scene.one.allow(kNow, 7); }), Outcome::kLimited);
  CHECK_EQ(scene.looks, 2);
  CHECK_EQ(scene.spentOf(scene.one), kLimit);
  Scene shortly;
  CHECK(shortly.decideWhile([&] { shortly.one.allow(kNow, 7); }) == Verdict::Kind::kRefuse);
  CHECK_EQ(shortly.spentOf(shortly.one), kLimit);
}

TEST(a_refusal_is_reconsidered_if_the_entry_changed) {
  Scene scene;
  CHECK_EQ(scene.chargeWhile([&] { CHECK_EQ(scene.one.refund(kNow, 3), 3); }, 8), Outcome::kAllowed);
  CHECK_EQ(scene.spentOf(scene.one), 8);
}

TEST(a_block_laid_meanwhile_holds) {
  Scene scene;
  CHECK_EQ(scene.chargeWhile([&] { CHECK(scene.one.block(kNow, 2 * kNow)); }), Outcome::kBlocked);
  CHECK_EQ(scene.one.peek(kNow).outcome, Outcome::kBlocked);
  Scene shortly;
  CHECK(shortly.decideWhile([&] { CHECK(shortly.one.block(kNow, 2 * kNow)); }) == Verdict::Kind::kUnsure);
  CHECK_EQ(shortly.one.peek(kNow).outcome, Outcome::kBlocked);
}

TEST(a_key_that_is_inserted_meanwhile_is_charged_not_inserted_twice) {
  Scene scene;
  CHECK(scene.one.reset(kNow));
  CHECK_EQ(scene.chargeWhile([&] { CHECK_EQ(scene.one.allow(kNow, kLimit), Outcome::kAllowed); }),
           Outcome::kLimited);
  CHECK_EQ(scene.table->stats().occupied, 1);
  CHECK_EQ(scene.spentOf(scene.one), kLimit);
}

TEST(an_operation_that_changes_nothing_leaves_the_newer_entry_alone) {
  Scene scene;
  const Outcome outcome = scene.chargeWhile([&] { scene.handOver(); }, kLimit + 1);
  CHECK_EQ(outcome, Outcome::kTooCostly);
  CHECK_EQ(scene.spentOf(scene.other), 3);
  CHECK_EQ(scene.table->stats().occupied, 1);
}
