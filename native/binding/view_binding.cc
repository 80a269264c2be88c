#include "binding/view_binding.h"

#include "binding/batch.h"
#include "binding/call.h"
#include "core/fixed_window.h"
#include "core/token_bucket.h"

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
      const auto& frame = call.view().currentFrame();
      const Verdict::Kind verdict = attachment.table->decide(
          path, [&](const Entry& entry) { return Algorithm::chargeWithin(frame, entry, cost); });
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

  // penalize(key, tokens): tokens taken
  static napi_value penalize(napi_env env, napi_callback_info info) {
    const Call<Algorithm, 2> call(env, info);
    const auto request = call.request();
    std::uint64_t tokens;
    if (!request || !readTokens(env, call.argument(1), "tokens", &tokens)) return nullptr;
    return toNumber(env, sluice::penalize(*request, tokens));
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
};

}  // namespace

template <class Algorithm>
napi_value makeViewFunctions(napi_env env, std::shared_ptr<Attachment<Algorithm>> attachment,
                             std::uint32_t policy, bool followsBase) {
  using Own = Operations<Algorithm>;
  const std::shared_ptr<View<Algorithm>> view(
      new View<Algorithm>{std::move(attachment), policy, followsBase});
  napi_value functions;
  if (napi_create_object(env, &functions) != napi_ok) return nullptr;
  const auto add = [&](const char* name, napi_callback callback) {
    return addFunction(env, functions, name, callback, view);
  };
  const bool complete = add("allow", Own::allow) && add("consume", Own::consume) && add("peek", Own::peek) &&
                        add("refund", Own::refund) && add("penalize", Own::penalize) &&
                        add("block", Own::block) && add("reset", Own::reset) &&
                        add("consumeText", Batch<Algorithm>::consumeText) &&
                        add("consumeIntegers", Batch<Algorithm>::consumeIntegers);
  return complete ? functions : nullptr;
}

template napi_value makeViewFunctions(napi_env, std::shared_ptr<Attachment<TokenBucket>>, std::uint32_t,
                                      bool);
template napi_value makeViewFunctions(napi_env, std::shared_ptr<Attachment<FixedWindow>>, std::uint32_t,
                                      bool);

}  // namespace sluice
