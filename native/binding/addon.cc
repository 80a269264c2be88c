// The addon: opens limiters. JavaScript has validated the options; what only the core can tell (that a policy
// cannot be represented, that memory is short) comes back as an error.
#include <napi.h>

#include <random>

#include "binding/call.h"
#include "binding/limiter_binding.h"
#include "core/fixed_window.h"
#include "core/token_bucket.h"

namespace sluice {

namespace {

HashSeed randomSeed() {
  std::random_device source;
  HashSeed seed;
  for (std::uint64_t& word : seed) word = std::uint64_t{source()} << 32 | source();
  return seed;
}

std::uint64_t toUint64(const Napi::Object& object, const char* name) {
  return static_cast<std::uint64_t>(object.Get(name).ToNumber().DoubleValue());
}

TokenBucket::Spec specOf(const Napi::Object& policy, const TokenBucket::Book&) {
  return {toUint64(policy, "limit"), toUint64(policy, "windowNs"), toUint64(policy, "burst")};
}
FixedWindow::Spec specOf(const Napi::Object& policy, const FixedWindow::Book&) {
  return {toUint64(policy, "limit")};
}

std::optional<TokenBucket::Book> makeBook(const Napi::Object&, const TokenBucket*) {
  return TokenBucket::Book();
}
std::optional<FixedWindow::Book> makeBook(const Napi::Object& options, const FixedWindow*) {
  const bool epoch = options.Get("alignToEpoch").ToBoolean();
  return FixedWindow::Book::make(toUint64(options, "windowNs"), toUint64(options, "maxLimit"),
                                 epoch ? FixedWindow::Align::kEpoch : FixedWindow::Align::kFirstRequest);
}

std::uint64_t maxLimitOf(const TokenBucket::Book&) { return kMaxTokens; }
std::uint64_t maxLimitOf(const FixedWindow::Book& book) { return book.maxCount(); }

Napi::Value throwPolicy(Napi::Env env) {
  throwRange(env, "ERR_SLUICE_POLICY",
             "a limiter holds at most 1024 different policies; round limits to fewer steps");
  return env.Undefined();
}

// addPolicy(policy): the functions of a view under it
template <class Algorithm>
napi_value addPolicy(napi_env rawEnv, napi_callback_info info) {
  std::size_t count = 1;
  napi_value argument;
  void* data;
  napi_get_cb_info(rawEnv, info, &count, &argument, nullptr, &data);
  auto* attachment = static_cast<Attachment<Algorithm>*>(data);
  const Napi::Env env(rawEnv);
  if (!attachment->table) {
    throwClosed(env);
    return nullptr;
  }
  auto& book = attachment->table->book();
  const auto policy = book.add(specOf(Napi::Object(env, argument), book));
  if (!policy) return throwPolicy(env);
  return makeViewFunctions<Algorithm>(env, attachment->shared_from_this(), *policy);
}

// noop(key): takes a string out without loss and does nothing with it. Benchmarks print it beside the real
// thing, as what any native limiter must cost at least.
napi_value noop(napi_env env, napi_callback_info info) {
  std::size_t count = 2;
  napi_value arguments[2];
  void* data;
  napi_get_cb_info(env, info, &count, arguments, nullptr, &data);
  std::size_t units;
  char16_t buffer[256];
  napi_get_value_string_utf16(env, arguments[0], buffer, 256, &units);
  napi_value result;
  napi_get_boolean(env, units != 0, &result);
  return result;
}

// open(options): { results, addPolicy, stats, close }
template <class Algorithm>
Napi::Value open(const Napi::CallbackInfo& info) {
  const Napi::Env env = info.Env();
  const Napi::Object options = info[0].As<Napi::Object>();
  auto book = makeBook(options, static_cast<const Algorithm*>(nullptr));
  if (!book) return throwPolicy(env);
  const std::uint64_t maxKeys = toUint64(options, "maxKeys");
  auto table = Table<Algorithm>::create(maxKeys, randomSeed(), std::move(*book));
  if (!table) {
    throwRange(env, "ERR_SLUICE_NO_MEMORY",
               "maxKeys of " + std::to_string(maxKeys) + " needs " +
                   std::to_string(Geometry::forKeys(maxKeys).bytes()) +
                   " bytes, which the system does not give");
    return env.Undefined();
  }
  auto results = Napi::Float64Array::New(env, sizeof(Results) / sizeof(double));
  const bool external = options.Get("clockCell").IsTypedArray();
  const double* const cell = external ? options.Get("clockCell").As<Napi::Float64Array>().Data() : nullptr;
  std::int64_t total;
  napi_adjust_external_memory(env, static_cast<std::int64_t>(table->bytes()), &total);
  const auto attachment =
      std::make_shared<Attachment<Algorithm>>(std::move(table), Clock(cell, toUint64(options, "windowNs")),
                                              reinterpret_cast<Results*>(results.Data()));
  attachment->pinnedResults = std::make_unique<Pinned>(env, results);
  if (external) attachment->pinnedClock = std::make_unique<Pinned>(env, options.Get("clockCell"));
  Napi::Object functions(env, makeLimiterFunctions<Algorithm>(env, attachment));
  functions.Set("results", results);
  functions.Set("maxLimit", static_cast<double>(maxLimitOf(attachment->table->book())));
  addFunction(env, functions, "addPolicy", addPolicy<Algorithm>, attachment);
  return functions;
}

Napi::Object init(Napi::Env env, Napi::Object exports) {
  exports.Set("openTokenBucket", Napi::Function::New<open<TokenBucket>>(env, "openTokenBucket"));
  exports.Set("openFixedWindow", Napi::Function::New<open<FixedWindow>>(env, "openFixedWindow"));
  napi_value function;
  napi_create_function(env, "noop", NAPI_AUTO_LENGTH, noop, nullptr, &function);
  exports.Set("noop", Napi::Value(env, function));
  return exports;
}

}  // namespace

NODE_API_MODULE(sluice, init)

}  // namespace sluice
