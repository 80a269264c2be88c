// The addon: opens limiters. JavaScript has validated the options; what only the core can tell (that a policy
// cannot be represented, that memory is short, what another process has left) comes back as an error. A
// worker may be terminated at any moment: from then on Node-API refuses to work, so every status is looked
// at, and nothing is returned.
#include <napi.h>

#include "binding/algorithms.h"
#include "binding/arguments.h"
#include "binding/attachment.h"
#include "binding/limiter_binding.h"
#include "binding/registry.h"
#include "binding/secret.h"
#include "binding/set_binding.h"

namespace sluice {

namespace {

// Where the user's clock writes; null for the machine's clock.
const double* cellOf(napi_env env, napi_value value) {
  void* data = nullptr;
  bool isTypedArray = false;
  napi_is_typedarray(env, value, &isTypedArray);
  if (isTypedArray) napi_get_typedarray_info(env, value, nullptr, nullptr, &data, nullptr, nullptr);
  return static_cast<const double*>(data);
}

// A short string; empty if it is none.
std::string textOf(napi_env env, napi_value value) {
  char text[256];
  std::size_t length = 0;
  if (napi_get_value_string_utf8(env, value, text, sizeof text, &length) != napi_ok) return {};
  return std::string(text, length);
}

std::string quoted(const std::string& name) { return "the shared limiter '" + name + "'"; }

// Throws what went wrong with the shared limiter of that name.
void throwShare(napi_env env, const std::string& name, const ShareFailure& failure) {
  const std::string it = quoted(name);
  const auto because = failure.detail.empty() ? std::string() : ": " + failure.detail;
  switch (failure.status) {
    case ShareStatus::kUnsupported:
      return throwRange(
          env, "ERR_SLUICE_SHARED_UNSUPPORTED",
          "limiters are shared among processes on Linux only; leave `shared` out, and share the "
          "limiter among worker threads with limiter.handle()");
    case ShareStatus::kNotFound:
      return throwRange(env, "ERR_SLUICE_SHARED_NOT_FOUND",
                        it + " does not exist; make it with new Limiter({ shared: '" + name + "', ... })");
    case ShareStatus::kForeign:
      return throwRange(env, "ERR_SLUICE_SHARED_OWNER",
                        it + " is not this user's alone" + because + "; use another name");
    case ShareStatus::kVersion:
      return throwRange(env, "ERR_SLUICE_SHARED_VERSION",
                        it + " was made by another version of sluice" + because +
                            "; use another name, or stop its processes and run: npx sluice remove " + name);
    case ShareStatus::kNoSpace:
      return throwRange(
          env, "ERR_SLUICE_NO_MEMORY",
          "there is no memory for " + it + because + "; lower maxKeys, or enlarge it (Docker: --shm-size)");
    case ShareStatus::kFull:
      return throwRange(
          env, "ERR_SLUICE_SHARED_FULL",
          it + " has " + std::to_string(Member::kMax) +
              " limiters attached, which is all it can have; use one for each thread, and close() those that "
              "are not needed");
    case ShareStatus::kBusy:
      return throwRange(env, "ERR_SLUICE_SHARED_BUSY", it + " cannot be had now" + because);
    case ShareStatus::kSystem:
      return throwRange(env, "ERR_SLUICE_SHARED_SYSTEM", it + " cannot be had" + because);
    default:
      return throwRange(
          env, "ERR_SLUICE_SHARED_CORRUPT",
          it + " cannot be used" + because + "; stop its processes and run: npx sluice remove " + name);
  }
}

// How the numbers of a new limiter lie: algorithm, maxKeys, maxLimit, alignToEpoch, the policy, forgetMs, and
// the steps of the escalation.
constexpr std::size_t kPolicyAt = 4, kForgetAt = kPolicyAt + kPolicyNumbers;

// False only while the environment is being torn down.
bool readSpec(napi_env env, napi_value value, const double* cell, bool isShared, RegionSpec* spec) {
  std::array<std::uint64_t, kForgetAt + 1 + Escalation::kMaxSteps> numbers{};
  const std::size_t length = readNumbers(env, value, numbers.data(), numbers.size());
  if (length <= kForgetAt) return false;
  spec->algorithm = numbers[0];
  spec->maxKeys = numbers[1];
  spec->base = policyFrom(&numbers[kPolicyAt]);
  spec->base.isBase = 1;
  const bool aligns = numbers[3] != 0;
  spec->book = {spec->base.windowNs, numbers[2], aligns ? std::uint64_t{1} : 0};
  spec->escalation.forgetMs = numbers[kForgetAt];
  spec->escalation.steps = length - kForgetAt - 1;
  std::copy_n(&numbers[kForgetAt + 1], spec->escalation.steps, spec->escalation.blockMs.begin());
  spec->seed = isShared ? randomSeed() : processSeed();
  spec->id = randomSeed()[0];
  spec->time = Clock::begin(cell, aligns ? spec->base.windowNs : 1);
  return true;
}

// What the algorithm makes of the numbers; false if it cannot count them.
template <class Algorithm>
bool complete(RegionSpec* spec) {
  const auto book = Algorithm::Book::make(spec->book);
  if (!book || !book->accepts(spec->base)) return false;
  spec->book = book->options();
  spec->wordsPerSlot = wordsPerSlot<Algorithm>(*book);
  return true;
}

// open(spec: Float64Array, clockCell: Float64Array | undefined, name: string | undefined): NativeLimiter
napi_value open(napi_env env, napi_callback_info info) {
  std::size_t count = 3;
  napi_value arguments[3];
  napi_get_cb_info(env, info, &count, arguments, nullptr, nullptr);
  const double* cell = cellOf(env, arguments[1]);
  const std::string name = textOf(env, arguments[2]);
  RegionSpec spec;
  if (!readSpec(env, arguments[0], cell, !name.empty(), &spec)) return nullptr;
  if (!Clock(cell, spec.time).valid(env)) return nullptr;
  const bool isPossible =
      withAlgorithm(spec.algorithm, false, [&]<class Algorithm>() { return complete<Algorithm>(&spec); });
  if (!isPossible) {
    throwRange(env, "ERR_SLUICE_POLICY", "the limit cannot be counted in that window");
    return nullptr;
  }
  auto attached = name.empty() ? Region::allocate(spec) : Region::openOrCreate(name, spec);
  if (attached) return wrapRegion(env, std::move(attached), cell, arguments[1], quoted(name));
  if (!name.empty()) {
    throwShare(env, name, attached.failure);
    return nullptr;
  }
  throwRange(env, "ERR_SLUICE_NO_MEMORY",
             "maxKeys of " + std::to_string(spec.maxKeys) + " needs " +
                 std::to_string(Layout::bytes(Geometry::forKeys(spec.maxKeys), spec.wordsPerSlot)) +
                 " bytes, which the system does not give");
  return nullptr;
}

// attachShared(name, clockCell, asTool: boolean): NativeLimiter
napi_value attachShared(napi_env env, napi_callback_info info) {
  std::size_t count = 3;
  napi_value arguments[3];
  napi_get_cb_info(env, info, &count, arguments, nullptr, nullptr);
  const std::string name = textOf(env, arguments[0]);
  bool asTool = false;
  napi_get_value_bool(env, arguments[2], &asTool);
  auto attached = Region::open(name, asTool ? Role::kTool : Role::kMember);
  if (attached)
    return wrapRegion(env, std::move(attached), cellOf(env, arguments[1]), arguments[1], quoted(name));
  throwShare(env, name, attached.failure);
  return nullptr;
}

// attachHandle(handle, clockCell): NativeLimiter
napi_value attachHandle(napi_env env, napi_callback_info info) {
  std::size_t count = 2;
  napi_value arguments[2];
  napi_get_cb_info(env, info, &count, arguments, nullptr, nullptr);
  auto region = Registry::find(textOf(env, arguments[0]));
  if (region == nullptr) {
    throwRange(
        env, "ERR_SLUICE_HANDLE",
        "the limiter of this handle is closed everywhere, or belongs to another process; keep it open, "
        "or use `shared` to share a limiter among processes");
    return nullptr;
  }
  auto attached = Region::attach(std::move(region));
  if (attached) {
    return wrapRegion(env, std::move(attached), cellOf(env, arguments[1]), arguments[1],
                      "the limiter of this handle");
  }
  throwRange(env, "ERR_SLUICE_SHARED_FULL", "the limiter of this handle has all the threads it can have");
  return nullptr;
}

// restore(dump: Uint8Array, clockCell): NativeLimiter
napi_value restore(napi_env env, napi_callback_info info) {
  std::size_t count = 2;
  napi_value arguments[2];
  napi_get_cb_info(env, info, &count, arguments, nullptr, nullptr);
  void* data = nullptr;
  std::size_t length = 0;
  napi_get_typedarray_info(env, arguments[0], nullptr, &length, &data, nullptr, nullptr);
  // A part of a word says as much as none: the dump is not whole. Copied, as it may lie anywhere.
  std::vector<std::uint64_t> words(length % sizeof(std::uint64_t) == 0 ? length / sizeof(std::uint64_t) : 0);
  if (!words.empty()) std::memcpy(words.data(), data, length);
  return restoreDump(env, words, cellOf(env, arguments[1]), arguments[1]);
}

// sharedNames(): string[]
napi_value sharedNames(napi_env env, napi_callback_info) {
  napi_value array;
  if (napi_create_array(env, &array) != napi_ok) return nullptr;
  std::uint32_t index = 0;
  for (const std::string& name : SharedMemory::list()) {
    napi_value text;
    if (napi_create_string_utf8(env, name.data(), name.size(), &text) != napi_ok) return nullptr;
    if (napi_set_element(env, array, index++, text) != napi_ok) return nullptr;
  }
  return array;
}

// removeShared(name, force: boolean)
napi_value removeShared(napi_env env, napi_callback_info info) {
  std::size_t count = 2;
  napi_value arguments[2];
  napi_get_cb_info(env, info, &count, arguments, nullptr, nullptr);
  const std::string name = textOf(env, arguments[0]);
  bool force = false;
  napi_get_value_bool(env, arguments[1], &force);
  const ShareFailure failure = Region::remove(name, force);
  if (failure.status != ShareStatus::kOk) throwShare(env, name, failure);
  return nullptr;
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

Napi::Object init(Napi::Env env, Napi::Object exports) {
  const auto add = [&](const char* name, napi_callback callback) {
    napi_value function;
    if (napi_create_function(env, name, NAPI_AUTO_LENGTH, callback, nullptr, &function) != napi_ok) return;
    napi_set_named_property(env, exports, name, function);
  };
  add("open", open);
  add("attachShared", attachShared);
  add("attachHandle", attachHandle);
  add("sharedNames", sharedNames);
  add("removeShared", removeShared);
  add("openSet", openSet);
  add("restore", restore);
  add("noop", noop);
  return exports;
}

}  // namespace

NODE_API_MODULE(sluice, init)

}  // namespace sluice
