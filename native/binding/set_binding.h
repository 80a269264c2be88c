// Several limits decided as one in one crossing (core/limit_set.h).
#pragma once

#include "binding/attachment.h"
#include "core/limit_set.h"

namespace sluice {

// One view's part in a set, whatever its algorithm.
class BoundSeat {
 public:
  virtual ~BoundSeat() = default;
  virtual Seat& seat() = 0;
  // False once the limiter is closed.
  virtual bool isOpen() = 0;
  virtual KeyReader& keys() = 0;
  virtual Digest hash(const KeyBytes& key) const = 0;
  virtual const HashSeed& seed() const = 0;
  // What comes next is about that key. With `coarseNs` (the machine's coarse clock) a yes or no is all that
  // is wanted, and yes means now; 0 if more is. False, and ERR_SLUICE_CLOCK thrown, if the user's clock
  // fails. REQUIRES isOpen().
  virtual bool aim(napi_env env, const Digest& digest, std::uint64_t cost, std::uint64_t coarseNs) = 0;
  // Writes kSetNumbers numbers.
  virtual void handOver(const Decision& decision, double* numbers) = 0;
};

// Of each member: outcome, remaining, retryAfterMs, resetAfterMs, limit, delayMs.
inline constexpr std::size_t kSetNumbers = 6;

template <class Algorithm>
class ViewSeat final : public BoundSeat {
 public:
  explicit ViewSeat(std::shared_ptr<View<Algorithm>> view)
      : view_(std::move(view)), seat_(*view_->attachment->table, view_->attachment->clock.later()) {}

  Seat& seat() override { return seat_; }
  bool isOpen() override { return view_->attachment->table != nullptr; }
  KeyReader& keys() override { return view_->attachment->keys; }

  Digest hash(const KeyBytes& key) const override {
    return view_->attachment->table->hasher().hash(key.kind, key.data, key.bytes);
  }
  const HashSeed& seed() const override { return view_->attachment->table->region()->header().seed; }

  bool aim(napi_env env, const Digest& digest, std::uint64_t cost, std::uint64_t coarseNs) override {
    view_->catchUp();
    Table<Algorithm>& table = *view_->attachment->table;
    Clock& clock = view_->attachment->clock;
    const Path path = table.pathOf(digest);
    table.prefetch(path);
    if (coarseNs != 0 && !clock.external()) {
      seat_.aim(path, view_->policy, 0, cost, &view_->frameOf(coarseNs), true);
      return true;
    }
    std::uint64_t nowNs;
    if (!clock.now(env, &nowNs)) return false;
    seat_.aim(path, view_->policy, nowNs, cost, nullptr, coarseNs != 0);
    return true;
  }

  void handOver(const Decision& decision, double* numbers) override {
    const Clock& clock = view_->attachment->clock;
    numbers[0] = static_cast<double>(decision.outcome);
    numbers[1] = static_cast<double>(decision.remaining);
    numbers[2] = clock.toMs(decision.retryAfterNs);
    numbers[3] = clock.toMs(decision.resetAfterNs);
    numbers[4] = static_cast<double>(view_->attachment->table->book()[view_->policy].mostAtOnce());
    numbers[5] = clock.toMs(decision.delayNs);
  }

 private:
  std::shared_ptr<View<Algorithm>> view_;
  LimitSeat<Algorithm> seat_;
};

// What makes a seat; kept by a view's functions object for openSet.
struct SeatMaker {
  virtual ~SeatMaker() = default;
  // Null once the limiter is closed.
  virtual std::unique_ptr<BoundSeat> make() const = 0;
};

template <class Algorithm>
struct ViewSeatMaker final : SeatMaker {
  explicit ViewSeatMaker(std::shared_ptr<View<Algorithm>> theView) : view(std::move(theView)) {}
  std::unique_ptr<BoundSeat> make() const override {
    if (view->attachment->table == nullptr) return nullptr;
    return std::make_unique<ViewSeat<Algorithm>>(view);
  }
  std::shared_ptr<View<Algorithm>> view;
};

// Sets the property `seat` of a view's functions. False only while the environment is being torn down.
bool addSeatMaker(napi_env env, napi_value functions, std::unique_ptr<SeatMaker> maker);

template <class Algorithm>
bool addSeat(napi_env env, napi_value functions, const std::shared_ptr<View<Algorithm>>& view) {
  return addSeatMaker(env, functions, std::make_unique<ViewSeatMaker<Algorithm>>(view));
}

// openSet(seats: unknown[]): the functions of a set. Null, and something thrown, if two are of one table.
napi_value openSet(napi_env env, napi_callback_info info);

}  // namespace sluice
