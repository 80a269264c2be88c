// What one limiter keeps in one JavaScript environment. Nothing here is global, nothing is shared between
// threads except the table's region.
#pragma once

#include <node_api.h>

#include <algorithm>
#include <cmath>
#include <memory>

#include "binding/arguments.h"
#include "core/clock.h"
#include "core/operations.h"

namespace sluice {

// The present, as this limiter sees it: ns since the table's origin, never going back.
class Clock {
 public:
  // The time base of a new table. `cell` is where JavaScript writes the time in ms before a call; null for
  // the machine's clock. The origin is laid so that windows of `windowNs` since the origin are windows of the
  // epoch.
  static TimeBase begin(const double* cell, std::uint64_t windowNs) {
    TimeBase base;
    if (cell == nullptr) {
      base.phaseNs = SystemClock::epochNs() % windowNs;
      base.originNs = SystemClock::exactNs() - base.phaseNs;
      return base;
    }
    base.userClock = 1;
    if (!validMs(*cell)) return base;
    base.originUs = toUs(*cell);
    base.phaseNs = phaseOf(base.originUs, windowNs);
    return base;
  }

  Clock(const double* cell, const TimeBase& base)
      : cell_(cell), phaseNs_(base.phaseNs), originNs_(base.originNs), originUs_(base.originUs) {}

  bool external() const { return cell_ != nullptr; }

  // Whether the user's clock gives a time that can be taken; if not, ERR_SLUICE_CLOCK is thrown and time is
  // where it was.
  bool valid(napi_env env) const {
    if (cell_ == nullptr) return true;
    if (!validMs(*cell_)) {
      throwRange(env, "ERR_SLUICE_CLOCK",
                 "clock must give milliseconds from -9e12 to 9e12; got " + std::to_string(*cell_));
      return false;
    }
    const auto ahead = static_cast<std::uint64_t>(forward_.preview(toUs(*cell_) - originUs_));
    if (ahead <= (kHorizonNs - phaseNs_) / kNsPerUs) return true;
    throwRange(env, "ERR_SLUICE_CLOCK",
               "clock must stay within 146 years of where it was; got " + std::to_string(*cell_));
    return false;
  }

  // Exact. False, and ERR_SLUICE_CLOCK thrown, if the user's clock gave no valid time.
  bool now(napi_env env, std::uint64_t* nowNs) {
    if (cell_ == nullptr) {
      *nowNs = sinceOrigin(SystemClock::exactNs());
      return true;
    }
    return nowExternal(env, nowNs);
  }

  // The machine's coarse clock in this limiter's time. Lags `now` by at most `slackNs`.
  std::uint64_t coarseNow(std::uint64_t coarseMachineNs) const { return sinceOrigin(coarseMachineNs); }

  // The machine's clock can be read again at any time; a user's has been read for this call.
  Later later() const { return cell_ == nullptr ? Later{readAgain, this} : Later{}; }

  std::uint64_t slackNs() const { return slackNs_; }

  // As the caller sees it, rounded up to a tick of the clock: 1 us of a user's clock, 1 ns of the machine's.
  double toMs(std::uint64_t ns) const {
    if (ns == kNever) return INFINITY;
    if (cell_ == nullptr) return static_cast<double>(ns) / static_cast<double>(kNsPerMs);
    return static_cast<double>((ns + kNsPerUs - 1) / kNsPerUs) / 1000.0;
  }

 private:
  static std::uint64_t readAgain(const void* clock) {
    return static_cast<const Clock*>(clock)->sinceOrigin(SystemClock::exactNs());
  }
  // The origin may lie before the machine's start, as a number below zero; and the coarse clock before the
  // origin.
  std::uint64_t sinceOrigin(std::uint64_t machineNs) const {
    const auto passed = static_cast<std::int64_t>(machineNs - originNs_);
    return passed > 0 ? static_cast<std::uint64_t>(passed) : 0;
  }

  static constexpr double kMaxMs = 9.0e12;  // whole microseconds are exact in a double up to here
  static bool validMs(double ms) { return std::fabs(ms) <= kMaxMs; }
  static std::int64_t toUs(double ms) { return std::llround(ms * 1000.0); }

  static std::uint64_t phaseOf(std::int64_t us, std::uint64_t windowNs) {
    const auto window = static_cast<__int128>(windowNs);
    const __int128 phase = static_cast<__int128>(us) * kNsPerUs % window;
    return static_cast<std::uint64_t>(phase < 0 ? phase + window : phase);
  }

  bool nowExternal(napi_env env, std::uint64_t* nowNs) {
    if (!valid(env)) return false;
    const auto sinceOriginUs = static_cast<std::uint64_t>(forward_.advance(toUs(*cell_) - originUs_));
    *nowNs = sinceOriginUs * kNsPerUs + phaseNs_;
    return true;
  }

  const double* cell_;
  std::uint64_t phaseNs_;
  std::uint64_t originNs_;
  std::uint64_t slackNs_ = SystemClock::coarseSlackNs();
  std::int64_t originUs_;
  ForwardOnly forward_;
};

// A strong reference to a JavaScript value for as long as this lives.
class Pinned {
 public:
  Pinned() = default;
  Pinned(const Pinned&) = delete;
  Pinned& operator=(const Pinned&) = delete;
  ~Pinned() {
    if (reference_ != nullptr) napi_delete_reference(env_, reference_);
  }

  // REQUIRES nothing pinned yet. False while the environment is being torn down.
  bool pin(napi_env env, napi_value value) {
    env_ = env;
    return napi_create_reference(env, value, 1, &reference_) == napi_ok;
  }

 private:
  napi_env env_ = nullptr;
  napi_ref reference_ = nullptr;
};

// Where a decision's numbers are handed over: JavaScript reads them after the call.
struct Results {
  double remaining;
  double retryAfterMs;
  double resetAfterMs;
  double limit;  // the most that can be spent at once
  double delayMs;
  double consumed;
  double ticketHigh, ticketLow, ticketNonce;  // of a lease
  double timeHigh, timeLow;                   // of a reservation
};

template <class Algorithm>
struct Attachment : std::enable_shared_from_this<Attachment<Algorithm>> {
  Attachment(napi_env theEnv, std::unique_ptr<Table<Algorithm>> theTable, const Clock& theClock,
             Results* theResults)
      : env(theEnv), table(std::move(theTable)), clock(theClock), results(theResults) {}
  ~Attachment() { close(); }

  // Lets the garbage collector know what memory hangs on this object. (Shared memory does not: it stays.)
  void accountForTable() {
    accounted_ = static_cast<std::int64_t>(table->bytes());
    adjustExternalMemory(accounted_);
  }

  // Gives the table up; its memory, if nobody else has it.
  void close() {
    if (!table) return;
    adjustExternalMemory(-accounted_);
    table.reset();
  }

  void count(Outcome outcome) const { table->count(outcome == Outcome::kAllowed); }

  napi_env env;
  std::unique_ptr<Table<Algorithm>> table;  // null once closed
  Clock clock;
  Results* results;
  Pinned pinnedResults, pinnedClock;  // what `results` and the clock's cell point into
  KeyReader keys;

 private:
  void adjustExternalMemory(std::int64_t bytes) const {
    std::int64_t total;
    if (bytes != 0) napi_adjust_external_memory(env, bytes, &total);
  }

  std::int64_t accounted_ = 0;
};

// One policy of a limiter, as the functions bound to it see it.
template <class Algorithm>
struct View {
  std::shared_ptr<Attachment<Algorithm>> attachment;
  std::uint32_t policy;
  bool followsBase;  // it is the limiter's own policy, whatever that becomes
  bool escalates;    // who is refused may be blocked for it
  typename Algorithm::Frame frame{};
  std::uint64_t frameAt = ~std::uint64_t{0};

  // Takes notice if the limiter's own policy has been changed, by whomever. REQUIRES an open attachment.
  void catchUp() {
    if (!followsBase) return;
    const std::uint32_t base = attachment->table->basePolicy();
    if (base == policy) return;
    policy = base;
    frameAt = ~std::uint64_t{0};
  }

  // The frame around the coarse present. It is recomputed once per timer tick.
  const typename Algorithm::Frame& currentFrame() { return frameOf(SystemClock::coarseNs()); }
  const typename Algorithm::Frame& frameOf(std::uint64_t coarseMachineNs) {
    const Clock& clock = attachment->clock;
    const std::uint64_t low = clock.coarseNow(coarseMachineNs);
    if (low != frameAt) {
      frame = Algorithm::frame(attachment->table->book(), policy, low, low + clock.slackNs());
      frameAt = low;
    }
    return frame;
  }
};

}  // namespace sluice
