// Many keys in one crossing.
//
// Fetching keys out of an array one by one costs more than calling once per key. So JavaScript hands over all
// strings joined into one, with their lengths, or all integers in one typed array; the keys are hashed in
// blocks, their lines requested from memory together, and then decided.
#pragma once

#include <algorithm>

#include "binding/call.h"

namespace sluice {

template <class Algorithm>
class Batch {
 public:
  // consumeText(joined, lengths: Uint32Array, count, costs: number | Float64Array, allowed: Uint8Array,
  //             remaining: Float64Array, retryAfterMs: Float64Array, from, delayMs: Float64Array): how many
  //             were admitted.
  // Results are written from index `from` on. JavaScript has validated everything.
  static napi_value consumeText(napi_env env, napi_callback_info info) {
    const Call<Algorithm, kArguments> call(env, info);
    Batch batch(env, call);
    if (!call.open() || !batch.start()) return nullptr;
    const auto* lengths = batch.template array<const std::uint32_t>(1, napi_uint32_array, 0);
    if (lengths == nullptr && batch.count_ != 0) return batch.mismatch(), nullptr;
    std::size_t units = 0;
    for (std::uint32_t i = 0; i < batch.count_; ++i) units += lengths[i];
    const char16_t* text = call.attachment().keys.readText(env, call.argument(0), units);
    if (text == nullptr) {
      throwRange(env, "ERR_SLUICE_KEY_RANGE",
                 "the keys do not fit into memory together; pass fewer at a time");
      return nullptr;
    }
    return batch.run([&](std::uint32_t i) {
      const char16_t* key = text;
      text += lengths[i];
      return call.table().hasher().hash(KeyKind::kString, key, lengths[i] * sizeof(char16_t));
    });
  }

  // consumeIntegers(unused, integers: Float64Array, ...): the same for integer keys.
  static napi_value consumeIntegers(napi_env env, napi_callback_info info) {
    const Call<Algorithm, kArguments> call(env, info);
    Batch batch(env, call);
    if (!call.open() || !batch.start()) return nullptr;
    const auto* integers = batch.template array<const double>(1, napi_float64_array, 0);
    if (integers == nullptr && batch.count_ != 0) return batch.mismatch(), nullptr;
    return batch.run(
        [&](std::uint32_t i) { return KeyReader::hashInteger(call.table().hasher(), integers[i]); });
  }

 private:
  static constexpr std::size_t kArguments = 9;

  // Keys whose lines are requested together: enough to hide a memory access, few enough to stay in the first
  // cache.
  static constexpr std::uint32_t kBlock = 32;

  Batch(napi_env env, const Call<Algorithm, kArguments>& call) : env_(env), call_(call) {}

  // The elements of a typed array, if there are `from + count` of them and they have the expected size.
  template <class Element>
  Element* array(std::size_t index, napi_typedarray_type expected, std::uint64_t from) const {
    void* data = nullptr;
    std::size_t length = 0;
    napi_typedarray_type type;
    if (napi_get_typedarray_info(env_, call_.argument(index), &type, &length, &data, nullptr, nullptr) !=
        napi_ok) {
      return nullptr;
    }
    return type == expected && length >= from + count_ ? static_cast<Element*>(data) + from : nullptr;
  }

  // Fetches the arguments. False, and something thrown, if they do not go together: an array was detached,
  // say.
  bool start() {
    const auto request = call_.request(Path{});
    if (!request) return false;
    nowNs_ = request->nowNs;
    frame_ = Algorithm::frame(call_.table().book(), call_.view().policy, nowNs_, nowNs_);
    paces_ = request->paces();
    if (napi_get_value_uint32(env_, call_.argument(2), &count_) != napi_ok) return false;
    if (napi_get_value_uint32(env_, call_.argument(7), &from_) != napi_ok) return false;
    double cost = 0;
    const bool oneCost = napi_get_value_double(env_, call_.argument(3), &cost) == napi_ok;
    cost_ = static_cast<std::uint64_t>(cost);
    if (!oneCost) costs_ = array<const double>(3, napi_float64_array, from_);
    allowed_ = array<std::uint8_t>(4, napi_uint8_array, from_);
    remaining_ = array<double>(5, napi_float64_array, from_);
    retryAfterMs_ = array<double>(6, napi_float64_array, from_);
    delayMs_ = array<double>(8, napi_float64_array, from_);
    const bool complete = (oneCost || costs_ != nullptr) && allowed_ != nullptr && remaining_ != nullptr &&
                          retryAfterMs_ != nullptr && delayMs_ != nullptr;
    return complete || count_ == 0 || mismatch();
  }

  bool mismatch() const {
    throwType(env_, "ERR_SLUICE_ARGUMENT_TYPE", "out must keep its arrays; one of them was detached");
    return false;
  }

  // Three blocks are under way at a time: the lines of one are requested, those of the next have come and
  // tell where the keys that are not at home live on, and the last is decided.
  template <class DigestOf>
  napi_value run(DigestOf&& digestOf) {
    Path paths[3][kBlock];
    std::uint32_t admitted = 0;
    for (std::uint32_t block = 0; block * kBlock < count_ + 2 * kBlock; ++block) {
      forEachIn(block, [&](std::uint32_t i) {
        Path& path = paths[block % 3][i % kBlock];
        path = call_.table().pathOf(digestOf(i));
        call_.table().prefetch(path);
      });
      if (block >= 1) {
        forEachIn(block - 1, [&](std::uint32_t i) {
          call_.table().prefetchFurther(paths[(block - 1) % 3][i % kBlock]);
        });
      }
      if (block >= 2) {
        forEachIn(block - 2, [&](std::uint32_t i) {
          admitted += decide(i, paths[(block - 2) % 3][i % kBlock]) ? 1 : 0;
        });
      }
    }
    napi_value result;
    napi_create_uint32(env_, admitted, &result);
    return result;
  }

  template <class Visit>
  void forEachIn(std::uint32_t block, Visit&& visit) const {
    const std::uint32_t end = std::min((block + 1) * kBlock, count_);
    for (std::uint32_t i = block * kBlock; i < end; ++i) visit(i);
  }

  bool decide(std::uint32_t index, const Path& path) {
    const std::uint64_t cost = costs_ == nullptr ? cost_ : static_cast<std::uint64_t>(costs_[index]);
    Decision decision;
    if (!admitAt(path, cost, &decision.remaining)) decision = consume(call_.requestAt(path, nowNs_), cost);
    call_.attachment().count(decision.outcome);
    const bool allowed = decision.outcome == Outcome::kAllowed;
    allowed_[index] = allowed ? 1 : 0;
    remaining_[index] = static_cast<double>(decision.remaining);
    retryAfterMs_[index] =
        decision.retryAfterNs == 0 ? 0 : call_.attachment().clock.toMs(decision.retryAfterNs);
    if (paces_) delayMs_[index] = call_.attachment().clock.toMs(decision.delayNs);
    return allowed;
  }

  // The short way of admitting a key that is there; false if it takes the long one.
  bool admitAt(const Path& path, std::uint64_t cost, std::uint64_t* left) {
    const auto admit = [&](const Entry& entry) { return Algorithm::admitAt(frame_, entry, cost, left); };
    return !paces_ && call_.table().decide(path, admit) == Verdict::Kind::kAdmit;
  }

  napi_env env_;
  const Call<Algorithm, kArguments>& call_;
  std::uint32_t count_ = 0;
  std::uint32_t from_ = 0;
  std::uint64_t cost_ = 1;
  const double* costs_ = nullptr;
  std::uint8_t* allowed_ = nullptr;
  double* remaining_ = nullptr;
  double* retryAfterMs_ = nullptr;
  double* delayMs_ = nullptr;
  bool paces_ = false;  // calls that are admitted may have to wait
  std::uint64_t nowNs_ = 0;
  typename Algorithm::Frame frame_{};
};

}  // namespace sluice
