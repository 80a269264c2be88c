#include "binding/set_binding.h"

#include <array>

#include "binding/call.h"
#include "binding/view_binding.h"

namespace sluice {

namespace {

constexpr std::size_t kMaxMembers = 8;

struct SetBinding {
  std::vector<std::unique_ptr<BoundSeat>> seats;
  bool hashesAlike = true;  // one digest serves all
  std::optional<LimitSet> set;
  double* results = nullptr;
  Pinned pinnedResults;
  // Of the call under way.
  std::array<Outcome, kMaxMembers> outcomes{};
  std::array<Decision, kMaxMembers> decisions{};
};

// `kArguments` is 2 for key and cost of all members, or more for those of each in turn. Each one asked for
// costs.
template <std::size_t kArguments>
class SetCall {
 public:
  SetCall(napi_env env, napi_callback_info info) : env_(env) {
    void* data;
    napi_get_cb_info(env, info, &count_, arguments_, nullptr, &data);
    binding_ = static_cast<SetBinding*>(data);
  }

  // Points the seats at the keys. False, and something thrown, if anything is not as it should be; then
  // nothing has been charged anywhere.
  bool aim(bool atOnce) {
    const std::uint64_t coarseNs = atOnce ? SystemClock::coarseNs() : 0;
    return kArguments > 2 ? aimEach(coarseNs) : aimAll(coarseNs);
  }

  // Whether the call is admitted.
  bool allow() { return binding_->set->allow(binding_->outcomes.data()); }
  bool charge() { return binding_->set->charge(binding_->outcomes.data(), binding_->decisions.data()); }
  bool peek() { return binding_->set->peek(binding_->outcomes.data(), binding_->decisions.data()); }
  bool attempt(std::uint64_t maxDelayNs) {
    return binding_->set->attempt(binding_->outcomes.data(), binding_->decisions.data(), maxDelayNs);
  }

  // The argument after all keys and costs.
  napi_value last() const { return arguments_[2 * binding_->seats.size()]; }

  void handOver() const {
    for (std::size_t i = 0; i < binding_->seats.size(); ++i)
      binding_->seats[i]->handOver(binding_->decisions[i], binding_->results + i * kSetNumbers);
  }

  napi_value toBoolean(bool value) const {
    napi_value result;
    napi_get_boolean(env_, value, &result);
    return result;
  }

 private:
  bool costAt(std::size_t index, std::uint64_t* cost) const {
    *cost = 1;
    if (index >= count_ || isUndefined(env_, arguments_[index])) return true;
    return readTokens(env_, arguments_[index], "cost", cost);
  }

  bool aimAll(std::uint64_t coarseNs) {
    KeyBytes key;
    std::uint64_t cost;
    const auto& seats = binding_->seats;
    BoundSeat& first = *seats.front();
    if (!first.isOpen()) return throwClosed(env_), false;
    if (!first.keys().view(env_, arguments_[0], &key) || !costAt(1, &cost)) return false;
    const Digest digest = first.hash(key);
    for (const auto& seat : seats) {
      if (!seat->isOpen()) return throwClosed(env_), false;
      // Not in one: the digest would be copied, which waits for the cache.
      if (binding_->hashesAlike) {
        if (!seat->aim(env_, digest, cost, coarseNs)) return false;
      } else if (!seat->aim(env_, seat->hash(key), cost, coarseNs)) {
        return false;
      }
    }
    return true;
  }

  bool aimEach(std::uint64_t coarseNs) {
    for (std::size_t i = 0; i < binding_->seats.size(); ++i) {
      BoundSeat& seat = *binding_->seats[i];
      KeyBytes key;
      std::uint64_t cost;
      if (!seat.isOpen()) return throwClosed(env_), false;
      if (!seat.keys().view(env_, arguments_[2 * i], &key) || !costAt(2 * i + 1, &cost)) return false;
      if (!seat.aim(env_, seat.hash(key), cost, coarseNs)) return false;
    }
    return true;
  }

  napi_env env_;
  std::size_t count_ = kArguments;
  napi_value arguments_[kArguments];
  SetBinding* binding_;
};

// allow(key, cost), allowEach(key1, cost1, key2, cost2, ...): boolean
template <std::size_t kArguments>
napi_value allow(napi_env env, napi_callback_info info) {
  SetCall<kArguments> call(env, info);
  if (!call.aim(true)) return nullptr;
  return call.toBoolean(call.allow());
}

// consumeEach(likewise): boolean; the numbers are in the results
template <std::size_t kArguments>
napi_value consume(napi_env env, napi_callback_info info) {
  SetCall<kArguments> call(env, info);
  if (!call.aim(false)) return nullptr;
  const bool admitted = call.charge();
  call.handOver();
  return call.toBoolean(admitted);
}

// attemptEach(likewise, maxDelayMs): boolean; the numbers are in the results
napi_value attemptEach(napi_env env, napi_callback_info info) {
  SetCall<2 * kMaxMembers + 1> call(env, info);
  std::uint64_t maxDelayNs;
  if (!call.aim(false) || !readSpanMs(env, call.last(), "maxDelayMs", &maxDelayNs)) return nullptr;
  const bool admitted = call.attempt(maxDelayNs);
  call.handOver();
  return call.toBoolean(admitted);
}

// peekEach(likewise): boolean; the numbers are in the results
template <std::size_t kArguments>
napi_value peek(napi_env env, napi_callback_info info) {
  SetCall<kArguments> call(env, info);
  if (!call.aim(false)) return nullptr;
  const bool admitted = call.peek();
  call.handOver();
  return call.toBoolean(admitted);
}

// The seats that the makers in that array make; nothing, and something thrown, if that cannot be.
std::optional<std::vector<std::unique_ptr<BoundSeat>>> makeSeats(napi_env env, napi_value makers) {
  std::uint32_t length = 0;
  if (napi_get_array_length(env, makers, &length) != napi_ok || length > kMaxMembers) return std::nullopt;
  std::vector<std::unique_ptr<BoundSeat>> seats;
  for (std::uint32_t i = 0; i < length; ++i) {
    napi_value value;
    void* maker = nullptr;
    if (napi_get_element(env, makers, i, &value) != napi_ok) return std::nullopt;
    if (napi_get_value_external(env, value, &maker) != napi_ok) return std::nullopt;
    seats.push_back(static_cast<const SeatMaker*>(maker)->make());
    if (seats.back() != nullptr) continue;
    throwClosed(env);
    return std::nullopt;
  }
  return seats;
}

}  // namespace

bool addSeatMaker(napi_env env, napi_value functions, std::unique_ptr<SeatMaker> maker) {
  const auto finalize = [](napi_env, void* data, void*) { delete static_cast<SeatMaker*>(data); };
  napi_value external;
  if (napi_create_external(env, maker.get(), finalize, nullptr, &external) != napi_ok) return false;
  maker.release();
  return napi_set_named_property(env, functions, "seat", external) == napi_ok;
}

napi_value openSet(napi_env env, napi_callback_info info) {
  std::size_t count = 1;
  napi_value makers;
  napi_get_cb_info(env, info, &count, &makers, nullptr, nullptr);
  auto seats = makeSeats(env, makers);
  if (!seats) return nullptr;
  const auto binding = std::make_shared<SetBinding>();
  binding->seats = std::move(*seats);
  std::vector<Seat*> inOrder;
  for (const auto& seat : binding->seats) {
    inOrder.push_back(&seat->seat());
    binding->hashesAlike = binding->hashesAlike && seat->seed() == binding->seats.front()->seed();
  }
  binding->set = LimitSet::of(std::move(inOrder));
  if (!binding->set) {
    throwRange(
        env, "ERR_SLUICE_OPTION_RANGE",
        "two limits of a set are of the same limiter (its tiers and views have their keys in common); give "
        "each a limiter of its own");
    return nullptr;
  }
  napi_value results, functions;
  binding->results = makeNumbers(env, binding->seats.size() * kSetNumbers, &results);
  if (binding->results == nullptr || !binding->pinnedResults.pin(env, results)) return nullptr;
  if (napi_create_object(env, &functions) != napi_ok) return nullptr;
  const auto add = [&](const char* name, napi_callback callback) {
    return addFunction(env, functions, name, callback, binding);
  };
  constexpr std::size_t kEach = 2 * kMaxMembers;
  const bool complete = napi_set_named_property(env, functions, "results", results) == napi_ok &&
                        add("allow", allow<2>) && add("allowEach", allow<kEach>) &&
                        add("consumeEach", consume<kEach>) && add("attemptEach", attemptEach) &&
                        add("peekEach", peek<kEach>);
  return complete ? functions : nullptr;
}

}  // namespace sluice
