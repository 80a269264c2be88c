#include "binding/view_binding.h"

#include "binding/algorithms.h"
#include "binding/batch.h"
#include "binding/call.h"
#include "binding/set_binding.h"

namespace sluice {

namespace {

napi_value toBoolean(napi_env env, bool value) {
  napi_value result;
  napi_get_boolean(env, value, &result);
  return result;
}

napi_value toNumber(napi_env env, std::uint64_t value) {
  napi_value result;
  napi_create_double(env, static_cast<double>(value), &result);
  return result;
}

template <class Algorithm>
napi_value handOver(napi_env env, const View<Algorithm>& view, const Decision& decision) {
  const Clock& clock = view.attachment->clock;
  Results* results = view.attachment->results;
  results->remaining = static_cast<double>(decision.remaining);
  results->retryAfterMs = clock.toMs(decision.retryAfterNs);
  results->resetAfterMs = clock.toMs(decision.resetAfterNs);
  results->limit = static_cast<double>(view.attachment->table->book()[view.policy].mostAtOnce());
  results->delayMs = clock.toMs(decision.delayNs);
  results->consumed = static_cast<double>(decision.consumed);
  napi_value outcome;
  napi_create_uint32(env, static_cast<std::uint32_t>(decision.outcome), &outcome);
  return outcome;
}

// The operations under one policy. Each returns nothing where it has thrown.
template <class Algorithm>
struct Operations {
  // allow(key, cost = 1): boolean
  static napi_value allow(napi_env env, napi_callback_info info) {
    const Call<Algorithm, 2> call(env, info);
    Path path;
    std::uint64_t cost;
    if (!call.key(&path) || !call.tokens(1, "cost", 1, &cost)) return nullptr;
    Attachment<Algorithm>& attachment = call.attachment();
    if (!attachment.clock.external()) {
      const Verdict::Kind verdict = allowWithin(call, path, cost);
      if (verdict != Verdict::Kind::kUnsure) {
        const bool admitted = verdict == Verdict::Kind::kAdmit;
        attachment.count(admitted ? Outcome::kAllowed : Outcome::kLimited);
        return toBoolean(env, admitted);
      }
    }
    const auto request = call.request(path);
    if (!request) return nullptr;
    const Outcome outcome = sluice::allow(*request, cost);
    attachment.count(outcome);
    return toBoolean(env, outcome == Outcome::kAllowed);
  }

  // consume(key, cost = 1): outcome; the numbers are in the results
  static napi_value consume(napi_env env, napi_callback_info info) {
    const Call<Algorithm, 2> call(env, info);
    const auto request = call.request();
    std::uint64_t cost;
    if (!request || !call.tokens(1, "cost", 1, &cost)) return nullptr;
    const Decision decision = sluice::consume(*request, cost);
    call.attachment().count(decision.outcome);
    return handOver(env, call.view(), decision);
  }

  // consumePartial(key, most): outcome; the numbers are in the results
  static napi_value consumePartial(napi_env env, napi_callback_info info) {
    const Call<Algorithm, 2> call(env, info);
    const auto request = call.request();
    std::uint64_t most;
    if (!request || !call.tokens(1, "cost", 1, &most)) return nullptr;
    const Decision decision = sluice::consumePartial(*request, most);
    call.attachment().count(decision.outcome);
    return handOver(env, call.view(), decision);
  }

  // attempt(key, cost = 1, maxDelayMs): outcome; the numbers are in the results, and a lease's ticket
  static napi_value attempt(napi_env env, napi_callback_info info) {
    const Call<Algorithm, 3> call(env, info);
    const auto request = call.request();
    std::uint64_t cost, maxDelayNs;
    if (!request || !call.tokens(1, "cost", 1, &cost)) return nullptr;
    if (!readSpanMs(env, call.argument(2), "maxDelayMs", &maxDelayNs)) return nullptr;
    typename Algorithm::Entry after;
    const Decision decision = sluice::attempt(*request, cost, maxDelayNs, &after);
    handOverTicket(call.attachment(), after);
    if (decision.outcome == Outcome::kAllowed) call.attachment().count(decision.outcome);
    return handOver(env, call.view(), decision);
  }

  // reserve(key, cost): outcome; the numbers and the time of the charge are in the results
  static napi_value reserve(napi_env env, napi_callback_info info) {
    const Call<Algorithm, 2> call(env, info);
    const auto request = call.request();
    std::uint64_t cost;
    if (!request || !readTokens(env, call.argument(1), "estimate", &cost)) return nullptr;
    const auto answer = charge(*request, cost);
    const Decision decision = describeCharge(*request, answer, cost);
    call.attachment().count(decision.outcome);
    const Halves time = Halves::of(answer.nowNs);
    call.attachment().results->timeHigh = time.high;
    call.attachment().results->timeLow = time.low;
    return handOver(env, call.view(), decision);
  }

  // refundSince(key, tokens, timeHigh, timeLow, ttlMs): tokens credited; none if the charge is longer ago
  // than that
  static napi_value refundSince(napi_env env, napi_callback_info info) {
    const Call<Algorithm, 5> call(env, info);
    const auto request = call.request();
    std::uint64_t tokens, atNs, ttlNs;
    if (!request || !readTokens(env, call.argument(1), "tokens", &tokens)) return nullptr;
    if (!readHalves(env, call.argument(2), call.argument(3), &atNs)) return nullptr;
    if (!readSpanMs(env, call.argument(4), "ttlMs", &ttlNs)) return nullptr;
    const std::uint64_t ageNs = saturatingSub(request->nowNs, atNs);
    return toNumber(env, ageNs > ttlNs ? 0 : sluice::refund(*request, tokens, ageNs));
  }

  // acquire(key, cost = 1): outcome; the numbers and the lease's ticket are in the results
  static napi_value acquire(napi_env env, napi_callback_info info) {
    const Call<Algorithm, 2> call(env, info);
    const auto request = call.request();
    std::uint64_t cost;
    if (!request || !call.tokens(1, "cost", 1, &cost)) return nullptr;
    const auto answer = charge(*request, cost);
    const Decision decision = describeCharge(*request, answer, cost);
    call.attachment().count(decision.outcome);
    handOverTicket(call.attachment(), answer.applied.entry);
    return handOver(env, call.view(), decision);
  }

  // release(key, tokens, ticketHigh, ticketLow, ticketNonce): tokens given back
  static napi_value release(napi_env env, napi_callback_info info) {
    const Call<Algorithm, 5> call(env, info);
    const auto request = call.request();
    std::uint64_t tokens;
    typename Algorithm::Ticket ticket;
    double nonce;
    if (!request || !readTokens(env, call.argument(1), "tokens", &tokens)) return nullptr;
    if (!readHalves(env, call.argument(2), call.argument(3), &ticket.index)) return nullptr;
    if (napi_get_value_double(env, call.argument(4), &nonce) != napi_ok) return nullptr;
    ticket.nonce = static_cast<std::uint32_t>(nonce);
    return toNumber(env, sluice::release(*request, tokens, ticket));
  }

  // peek(key): outcome; the numbers are in the results
  static napi_value peek(napi_env env, napi_callback_info info) {
    const Call<Algorithm, 1> call(env, info);
    const auto request = call.request();
    if (!request) return nullptr;
    return handOver(env, call.view(), sluice::peek(*request));
  }

  // refund(key, tokens, chargedAgoMs = 0): tokens credited
  static napi_value refund(napi_env env, napi_callback_info info) {
    const Call<Algorithm, 3> call(env, info);
    const auto request = call.request();
    std::uint64_t tokens;
    std::uint64_t ageNs = 0;
    if (!request || !readTokens(env, call.argument(1), "tokens", &tokens)) return nullptr;
    if (call.has(2) && !readSpanMs(env, call.argument(2), "chargedAgoMs", &ageNs)) return nullptr;
    return toNumber(env, sluice::refund(*request, tokens, ageNs));
  }

  // penalize(key, tokens, maxDebt = 0): tokens taken
  static napi_value penalize(napi_env env, napi_callback_info info) {
    const Call<Algorithm, 3> call(env, info);
    const auto request = call.request();
    std::uint64_t tokens, maxDebt;
    if (!request || !readTokens(env, call.argument(1), "tokens", &tokens)) return nullptr;
    if (!call.tokens(2, "maxDebt", 0, &maxDebt)) return nullptr;
    return toNumber(env, sluice::penalize(*request, tokens, maxDebt));
  }

  // block(key, durationMs): whether the table could remember it
  static napi_value block(napi_env env, napi_callback_info info) {
    const Call<Algorithm, 2> call(env, info);
    const auto request = call.request();
    std::uint64_t durationNs;
    if (!request || !readSpanMs(env, call.argument(1), "durationMs", &durationNs)) return nullptr;
    const std::uint64_t untilNs = request->nowNs + durationNs;
    if (untilNs > Block::kMaxUntilMs * kNsPerMs) {
      throwRange(
          env, "ERR_SLUICE_ARGUMENT_RANGE",
          "durationMs reaches beyond the 139 years that blocks can last from the creation of a limiter");
      return nullptr;
    }
    return toBoolean(env, durationNs == 0 || sluice::block(*request, untilNs));
  }

  // reset(key): whether anything was known of it
  static napi_value reset(napi_env env, napi_callback_info info) {
    const Call<Algorithm, 1> call(env, info);
    const auto request = call.request();
    if (!request) return nullptr;
    const auto wasKnown = sluice::reset(*request);
    if (wasKnown) return toBoolean(env, *wasKnown);
    throwBusy(env);
    return nullptr;
  }

 private:
  // Of an acquisition after which the entry is that.
  static void handOverTicket(const Attachment<Algorithm>& attachment,
                             const typename Algorithm::Entry& entry) {
    if constexpr (requires { typename Algorithm::Ticket; }) {
      const auto ticket = Algorithm::ticketOf(entry);
      const Halves index = Halves::of(ticket.index);
      attachment.results->ticketHigh = index.high;
      attachment.results->ticketLow = index.low;
      attachment.results->ticketNonce = static_cast<double>(ticket.nonce);
    }
  }

  // Without asking for the exact time, where it does not matter.
  static Verdict::Kind allowWithin(const Call<Algorithm, 2>& call, const Path& path, std::uint64_t cost) {
    View<Algorithm>& view = call.view();
    const auto& frame = view.currentFrame();
    const Verdict::Kind verdict = call.table().decide(path, [&](const Entry& entry) {
      if constexpr (Algorithm::kPaces)
        return Algorithm::chargeNowWithin(frame, entry, cost);
      else
        return Algorithm::chargeWithin(frame, entry, cost);
    });
    if (verdict == Verdict::Kind::kRefuse && view.escalates) [[unlikely]]
      return Verdict::Kind::kUnsure;
    return verdict;
  }
};

}  // namespace

template <class Algorithm>
napi_value makeViewFunctions(napi_env env, std::shared_ptr<Attachment<Algorithm>> attachment,
                             std::uint32_t policy, bool followsBase) {
  using Own = Operations<Algorithm>;
  const bool escalates = attachment->table->escalation().steps != 0;
  const std::shared_ptr<View<Algorithm>> view(
      new View<Algorithm>{std::move(attachment), policy, followsBase, escalates});
  napi_value functions;
  if (napi_create_object(env, &functions) != napi_ok) return nullptr;
  const auto add = [&](const char* name, napi_callback callback) {
    return addFunction(env, functions, name, callback, view);
  };
  const bool complete =
      add("allow", Own::allow) && add("consume", Own::consume) && add("peek", Own::peek) &&
      add("consumePartial", Own::consumePartial) && add("attempt", Own::attempt) &&
      add("reserve", Own::reserve) && add("refundSince", Own::refundSince) && add("refund", Own::refund) &&
      add("penalize", Own::penalize) && add("block", Own::block) && add("reset", Own::reset) &&
      add("consumeText", Batch<Algorithm>::consumeText) &&
      add("consumeIntegers", Batch<Algorithm>::consumeIntegers) && addSeat(env, functions, view);
  if constexpr (requires { typename Algorithm::Ticket; }) {
    if (!complete || !add("acquire", Own::acquire) || !add("release", Own::release)) return nullptr;
  }
  return complete ? functions : nullptr;
}

#define SLUICE_INSTANTIATE(Algorithm) \
  template napi_value makeViewFunctions(napi_env, std::shared_ptr<Attachment<Algorithm>>, std::uint32_t, bool)
SLUICE_INSTANTIATE(TokenBucket);
SLUICE_INSTANTIATE(FixedWindow);
SLUICE_INSTANTIATE(SlidingWindow);
SLUICE_INSTANTIATE(SlidingLog);
SLUICE_INSTANTIATE(StrictWindow);
SLUICE_INSTANTIATE(LeakyBucket);
SLUICE_INSTANTIATE(Concurrency);
SLUICE_INSTANTIATE(Purse);
#undef SLUICE_INSTANTIATE

}  // namespace sluice
