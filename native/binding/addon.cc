// The addon: opens limiters. JavaScript has validated the options; what only the core can tell (that a policy
// cannot be represented, that memory is short) comes back as an error. A worker may be terminated at any
// moment: from then on Node-API refuses to work, so every status is looked at, and nothing is returned.
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

// The first `count` arguments, as whole numbers. JavaScript has validated them; false only while the
// environment is being torn down, when Node-API refuses to work.
bool readWhole(napi_env env, const napi_value* arguments, std::size_t count, std::uint64_t* whole) {
  for (std::size_t i = 0; i < count; ++i) {
    double number;
    if (napi_get_value_double(env, arguments[i], &number) != napi_ok) return false;
    whole[i] = static_cast<std::uint64_t>(number);
  }
  return true;
}

TokenBucket::Spec specOf(const std::uint64_t* policy, const TokenBucket::Book&) {
  return {policy[0], policy[1], policy[2]};
}
FixedWindow::Spec specOf(const std::uint64_t* policy, const FixedWindow::Book&) { return {policy[0]}; }

// What `open` was called with.
struct Options {
  std::uint64_t maxKeys, windowNs, maxLimit, alignToEpoch;
};

std::optional<TokenBucket::Book> makeBook(const Options&, const TokenBucket*) { return TokenBucket::Book(); }
std::optional<FixedWindow::Book> makeBook(const Options& options, const FixedWindow*) {
  const auto align =
      options.alignToEpoch != 0 ? FixedWindow::Align::kEpoch : FixedWindow::Align::kFirstRequest;
  return FixedWindow::Book::make(options.windowNs, options.maxLimit, align);
}

std::uint64_t maxLimitOf(const TokenBucket::Book&) { return kMaxTokens; }
std::uint64_t maxLimitOf(const FixedWindow::Book& book) { return book.maxCount(); }

napi_value throwPolicy(napi_env env) {
  throwRange(env, "ERR_SLUICE_POLICY",
             "a limiter holds at most 1024 different policies; round limits to fewer steps");
  return nullptr;
}

// addPolicy(limit, windowNs, burst): the functions of a view under it
template <class Algorithm>
napi_value addPolicy(napi_env env, napi_callback_info info) {
  std::size_t count = 3;
  napi_value arguments[3];
  void* data;
  napi_get_cb_info(env, info, &count, arguments, nullptr, &data);
  auto* attachment = static_cast<Attachment<Algorithm>*>(data);
  if (!attachment->table) {
    throwClosed(env);
    return nullptr;
  }
  std::uint64_t numbers[3];
  if (!readWhole(env, arguments, 3, numbers)) return nullptr;
  auto& book = attachment->table->book();
  const auto policy = book.add(specOf(numbers, book));
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

// A Float64Array and where its numbers lie; null while the environment is being torn down.
double* makeFloat64Array(napi_env env, std::size_t length, napi_value* array) {
  void* data;
  napi_value buffer;
  if (napi_create_arraybuffer(env, length * sizeof(double), &data, &buffer) != napi_ok) return nullptr;
  if (napi_create_typedarray(env, napi_float64_array, length, buffer, 0, array) != napi_ok) return nullptr;
  return static_cast<double*>(data);
}

// Where the user's clock writes; null for the machine's clock.
const double* cellOf(napi_env env, napi_value value) {
  void* data = nullptr;
  bool isTypedArray = false;
  napi_is_typedarray(env, value, &isTypedArray);
  if (isTypedArray) napi_get_typedarray_info(env, value, nullptr, nullptr, &data, nullptr, nullptr);
  return static_cast<const double*>(data);
}

template <class Algorithm>
std::unique_ptr<Table<Algorithm>> makeTable(napi_env env, const Options& options) {
  auto book = makeBook(options, static_cast<const Algorithm*>(nullptr));
  if (!book) {
    throwPolicy(env);
    return nullptr;
  }
  auto table = Table<Algorithm>::create(options.maxKeys, randomSeed(), std::move(*book));
  if (!table) {
    throwRange(env, "ERR_SLUICE_NO_MEMORY",
               "maxKeys of " + std::to_string(options.maxKeys) + " needs " +
                   std::to_string(Geometry::forKeys(options.maxKeys).bytes()) +
                   " bytes, which the system does not give");
  }
  return table;
}

// open(maxKeys, windowNs, maxLimit, alignToEpoch, clockCell): { results, maxLimit, addPolicy, stats, close }
template <class Algorithm>
napi_value open(napi_env env, napi_callback_info info) {
  std::size_t count = 5;
  napi_value arguments[5];
  napi_get_cb_info(env, info, &count, arguments, nullptr, nullptr);
  std::uint64_t numbers[4];
  if (!readWhole(env, arguments, 4, numbers)) return nullptr;
  const Options options{numbers[0], numbers[1], numbers[2], numbers[3]};
  const double* cell = cellOf(env, arguments[4]);
  const Clock clock(cell, options.alignToEpoch != 0 ? options.windowNs : 1);
  if (!clock.valid(env)) return nullptr;
  auto table = makeTable<Algorithm>(env, options);
  napi_value results, maxLimit;
  double* numbersOut = makeFloat64Array(env, sizeof(Results) / sizeof(double), &results);
  if (!table || numbersOut == nullptr) return nullptr;
  const std::uint64_t most = maxLimitOf(table->book());
  const auto attachment = std::make_shared<Attachment<Algorithm>>(env, std::move(table), clock,
                                                                  reinterpret_cast<Results*>(numbersOut));
  const bool pinned = attachment->pinnedResults.pin(env, results) &&
                      (cell == nullptr || attachment->pinnedClock.pin(env, arguments[4]));
  napi_value functions = pinned ? makeLimiterFunctions<Algorithm>(env, attachment) : nullptr;
  const bool complete = functions != nullptr &&
                        addFunction(env, functions, "addPolicy", addPolicy<Algorithm>, attachment) &&
                        napi_set_named_property(env, functions, "results", results) == napi_ok &&
                        napi_create_double(env, static_cast<double>(most), &maxLimit) == napi_ok &&
                        napi_set_named_property(env, functions, "maxLimit", maxLimit) == napi_ok;
  return complete ? functions : nullptr;
}

Napi::Object init(Napi::Env env, Napi::Object exports) {
  const auto add = [&](const char* name, napi_callback callback) {
    napi_value function;
    if (napi_create_function(env, name, NAPI_AUTO_LENGTH, callback, nullptr, &function) != napi_ok) return;
    napi_set_named_property(env, exports, name, function);
  };
  add("openTokenBucket", open<TokenBucket>);
  add("openFixedWindow", open<FixedWindow>);
  add("noop", noop);
  return exports;
}

}  // namespace

NODE_API_MODULE(sluice, init)

}  // namespace sluice
