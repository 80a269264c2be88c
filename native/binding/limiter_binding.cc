#include "binding/limiter_binding.h"

#include "binding/algorithms.h"
#include "binding/call.h"
#include "binding/registry.h"
#include "binding/secret.h"
#include "binding/view_binding.h"
#include "core/dump.h"

namespace sluice {

double* makeNumbers(napi_env env, std::size_t length, napi_value* array) {
  void* data;
  napi_value buffer;
  // Never empty: an empty buffer has no address.
  const std::size_t bytes = std::max(length, std::size_t{1}) * sizeof(double);
  if (napi_create_arraybuffer(env, bytes, &data, &buffer) != napi_ok) return nullptr;
  if (napi_create_typedarray(env, napi_float64_array, length, buffer, 0, array) != napi_ok) return nullptr;
  return static_cast<double*>(data);
}

namespace {

napi_value toArray(napi_env env, const std::uint64_t* numbers, std::size_t count) {
  napi_value array;
  double* data = makeNumbers(env, count, &array);
  if (data == nullptr) return nullptr;
  for (std::size_t i = 0; i < count; ++i) data[i] = static_cast<double>(numbers[i]);
  return array;
}

napi_value makeText(napi_env env, const std::string& text) {
  napi_value value;
  return napi_create_string_utf8(env, text.data(), text.size(), &value) == napi_ok ? value : nullptr;
}

// The attachment itself is the data pointer of these.
template <class Algorithm>
struct LimiterFunctions {
  using Self = Attachment<Algorithm>;

  // The attachment, if it is open; else ERR_SLUICE_CLOSED is thrown.
  static Self* self(napi_env env, napi_callback_info info, napi_value* arguments = nullptr,
                    std::size_t count = 0) {
    void* data;
    napi_get_cb_info(env, info, &count, arguments, nullptr, &data);
    auto* attachment = static_cast<Self*>(data);
    if (attachment->table) return attachment;
    throwClosed(env);
    return nullptr;
  }

  // The policy in the argument, which JavaScript has validated.
  static Self* selfAndSpec(napi_env env, napi_callback_info info, PolicySpec* spec) {
    napi_value argument;
    Self* attachment = self(env, info, &argument, 1);
    std::array<std::uint64_t, kPolicyNumbers> numbers;
    if (attachment == nullptr || readNumbers(env, argument, numbers.data(), numbers.size()) != numbers.size())
      return nullptr;
    *spec = policyFrom(numbers.data());
    return attachment;
  }

  // True, or something thrown.
  static bool isDone(napi_env env, PolicyList::Added::Status status) {
    if (status == PolicyList::Added::kBusy) throwBusy(env);
    if (status == PolicyList::Added::kTooMany) {
      throwRange(env, "ERR_SLUICE_POLICY",
                 "a limiter holds at most 1024 different policies in its life, of tiers, with() and "
                 "setPolicy; round "
                 "limits to fewer steps (a shared one begins anew under another name)");
    }
    if (status == PolicyList::Added::kUncountable)
      throwRange(env, "ERR_SLUICE_POLICY", "the limit cannot be counted in that window");
    return status == PolicyList::Added::kDone;
  }

  // addPolicy(policy: Float64Array): the functions of a view under it
  static napi_value addPolicy(napi_env env, napi_callback_info info) {
    PolicySpec spec;
    Self* attachment = selfAndSpec(env, info, &spec);
    if (attachment == nullptr) return nullptr;
    const auto added = attachment->table->addPolicy(spec);
    if (!isDone(env, added.status)) return nullptr;
    return makeViewFunctions<Algorithm>(env, attachment->shared_from_this(), added.index, false);
  }

  // setPolicy(policy: Float64Array): the limiter's own policy from now on, for all who share it
  static napi_value setPolicy(napi_env env, napi_callback_info info) {
    PolicySpec spec;
    Self* attachment = selfAndSpec(env, info, &spec);
    if (attachment != nullptr) isDone(env, attachment->table->setBasePolicy(spec).status);
    return nullptr;
  }

  // policy(): the limiter's own policy as it is now
  static napi_value policy(napi_env env, napi_callback_info info) {
    Self* attachment = self(env, info);
    if (attachment == nullptr) return nullptr;
    const auto& book = attachment->table->book();
    book.catchUp();
    const std::uint32_t base = attachment->table->basePolicy();
    const PolicySpec spec = base < book.size() ? book.specAt(base) : PolicySpec{};
    const std::uint64_t numbers[] = {spec.limit,   spec.windowNs,   spec.burst,
                                     spec.initial, spec.rememberNs, spec.evenly};
    static_assert(std::size(numbers) == kPolicyNumbers);
    return toArray(env, numbers, std::size(numbers));
  }

  // stats(): keys, capacity, bytes, allowed, denied, evictedLive, refusedFull
  static napi_value stats(napi_env env, napi_callback_info info) {
    Self* attachment = self(env, info);
    if (attachment == nullptr) return nullptr;
    const auto& table = *attachment->table;
    const TableStats stats = table.stats();
    const std::uint64_t numbers[] = {
        stats.occupied, table.geometry().slots(), table.bytes(),    stats.allowed,
        stats.denied,   stats.evictedLive,        stats.refusedFull};
    return toArray(env, numbers, std::size(numbers));
  }

  // members(): process, process namespace, allowed, denied, is it this one; of each member that is attached
  static napi_value members(napi_env env, napi_callback_info info) {
    Self* attachment = self(env, info);
    if (attachment == nullptr) return nullptr;
    const auto& table = *attachment->table;
    std::vector<std::uint64_t> numbers;
    for (std::uint32_t place = 0; place < Member::kMax; ++place) {
      const Member& member = table.region()->members()[place];
      // Relaxed, all: statistics.
      const std::uint64_t token = member.token.load(std::memory_order_relaxed);
      if (token == 0 || (token & Member::kLeft) != 0 || table.member().isGone(token)) continue;
      const auto since = [](const auto& now, const auto& before) {
        return now.load(std::memory_order_relaxed) - before.load(std::memory_order_relaxed);
      };
      numbers.insert(numbers.end(),
                     {member.process.load(std::memory_order_relaxed),
                      member.processNamespace.load(std::memory_order_relaxed),
                      since(member.allowed, member.allowedBefore), since(member.denied, member.deniedBefore),
                      std::uint64_t{token == table.member().token()}});
    }
    return toArray(env, numbers.data(), numbers.size());
  }

  // dump(): all that the table holds, as an ArrayBuffer
  static napi_value dump(napi_env env, napi_callback_info info) {
    Self* attachment = self(env, info);
    std::uint64_t nowNs;
    if (attachment == nullptr || !attachment->clock.now(env, &nowNs)) return nullptr;
    const auto words = Dump<Algorithm>::of(*attachment->table, nowNs);
    if (!words) return throwBusy(env), nullptr;
    void* data;
    napi_value buffer;
    const std::size_t bytes = words->size() * sizeof(std::uint64_t);
    if (napi_create_arraybuffer(env, bytes, &data, &buffer) != napi_ok) return nullptr;
    std::memcpy(data, words->data(), bytes);
    return buffer;
  }

  // handle(): what stands for a private limiter in a message to another thread
  static napi_value handle(napi_env env, napi_callback_info info) {
    Self* attachment = self(env, info);
    return attachment == nullptr ? nullptr : makeText(env, Registry::put(attachment->table->region()));
  }

  // close(): gives the table up
  static napi_value close(napi_env env, napi_callback_info info) {
    void* data;
    napi_get_cb_info(env, info, nullptr, nullptr, nullptr, &data);
    static_cast<Self*>(data)->close();
    return nullptr;
  }
};

// The region of a new table with what is in the dump, or why there is none; nothing if its numbers make no
// sense.
template <class Algorithm>
std::optional<Region::Attached> restoreTable(const DumpHeader& header, std::span<const std::uint64_t> words) {
  const auto book = Algorithm::Book::make(header.book);
  if (!book || wordsPerSlot<Algorithm>(*book) != header.wordsPerSlot) return std::nullopt;
  Region::Attached attached = Region::allocate(specOf(header, randomSeed()[0]));
  if (!attached) return attached;
  const auto table = Table<Algorithm>::attach(std::move(attached));
  if (!table || !Dump<Algorithm>::fill(*table, header, words)) return std::nullopt;
  return Region::attach(table->region());
}

// Whether all went well; false only while the environment is being torn down.
bool set(napi_env env, napi_value object, const char* name, napi_value value) {
  return value != nullptr && napi_set_named_property(env, object, name, value) == napi_ok;
}

template <class Algorithm>
napi_value makeLimiter(napi_env env, const std::shared_ptr<Attachment<Algorithm>>& attachment) {
  using Own = LimiterFunctions<Algorithm>;
  const RegionHeader& header = attachment->table->region()->header();
  const Escalation& escalation = header.escalation;
  std::vector<std::uint64_t> facts = {header.algorithm,
                                      header.maxKeys,
                                      header.book.windowNs,
                                      header.book.alignToEpoch,
                                      maxLimitOf(attachment->table->book()),
                                      header.createdEpochMs,
                                      escalation.forgetMs};
  facts.insert(facts.end(), escalation.blockMs.begin(), escalation.blockMs.begin() + escalation.steps);
  napi_value limiter;
  if (napi_create_object(env, &limiter) != napi_ok) return nullptr;
  const auto add = [&](const char* name, napi_callback callback) {
    return addFunction(env, limiter, name, callback, attachment);
  };
  const bool complete =
      set(env, limiter, "facts", toArray(env, facts.data(), facts.size())) &&
      set(env, limiter, "base",
          makeViewFunctions<Algorithm>(env, attachment, attachment->table->basePolicy(), true)) &&
      add("addPolicy", Own::addPolicy) && add("setPolicy", Own::setPolicy) && add("policy", Own::policy) &&
      add("stats", Own::stats) && add("members", Own::members) && add("handle", Own::handle) &&
      add("dump", Own::dump) && add("close", Own::close);
  return complete ? limiter : nullptr;
}

template <class Algorithm>
napi_value wrap(napi_env env, Region::Attached attached, const double* cell, napi_value owner,
                const std::string& name) {
  const std::shared_ptr<Region> region = attached.region;
  const Clock clock(cell, region->time());
  if (!clock.valid(env)) return nullptr;
  auto table = Table<Algorithm>::attach(std::move(attached));
  if (!table) {
    throwRange(env, "ERR_SLUICE_SHARED_CORRUPT", name + " cannot be used: its numbers make no sense");
    return nullptr;
  }
  napi_value results;
  double* numbers = makeNumbers(env, sizeof(Results) / sizeof(double), &results);
  if (numbers == nullptr) return nullptr;
  const auto attachment = std::make_shared<Attachment<Algorithm>>(env, std::move(table), clock,
                                                                  reinterpret_cast<Results*>(numbers));
  if (!region->isShared()) attachment->accountForTable();
  const bool pinned = attachment->pinnedResults.pin(env, results) &&
                      (cell == nullptr || attachment->pinnedClock.pin(env, owner));
  napi_value limiter = pinned ? makeLimiter<Algorithm>(env, attachment) : nullptr;
  return limiter != nullptr && set(env, limiter, "results", results) ? limiter : nullptr;
}

}  // namespace

napi_value restoreDump(napi_env env, std::span<const std::uint64_t> words, const double* cell,
                       napi_value owner) {
  const auto header = checkDump(words);
  // Purses are not dumped: what was granted lapses sooner than anybody would restore it.
  const bool isLimiter = header && header->algorithm != Purse::kId;
  auto restored = withAlgorithm<std::optional<Region::Attached>>(
      isLimiter ? header->algorithm : 0, std::nullopt,
      [&]<class Algorithm>() { return restoreTable<Algorithm>(*header, words); });
  if (!restored) {
    throwRange(env, "ERR_SLUICE_DUMP",
               "this is no whole dump of a limiter, or one of another version of sluice; pass what dump() "
               "returned, all of it");
    return nullptr;
  }
  if (*restored) return wrapRegion(env, std::move(*restored), cell, owner, "the limiter of this dump");
  throwRange(env, "ERR_SLUICE_NO_MEMORY",
             "there is no memory for the limiter of this dump, which is made for " +
                 std::to_string(header->maxKeys) + " keys");
  return nullptr;
}

napi_value wrapRegion(napi_env env, Region::Attached attached, const double* cell, napi_value owner,
                      const std::string& name) {
  const RegionHeader& header = attached.region->header();
  if ((header.time.userClock != 0) != (cell != nullptr)) {
    throwRange(
        env, "ERR_SLUICE_SHARED_MISMATCH",
        name + (cell != nullptr ? " runs on the machine's clock; pass no clock"
                                : " was made with a clock of its own; pass one that shows the same time"));
    return nullptr;
  }
  if (header.algorithm == 0 || header.algorithm > Purse::kId) {
    throwRange(env, "ERR_SLUICE_SHARED_CORRUPT", name + " cannot be used: its algorithm is none");
    return nullptr;
  }
  return withAlgorithm<napi_value>(header.algorithm, nullptr, [&]<class Algorithm>() {
    return wrap<Algorithm>(env, std::move(attached), cell, owner, name);
  });
}

std::size_t readNumbers(napi_env env, napi_value array, std::uint64_t* numbers, std::size_t most) {
  void* data = nullptr;
  std::size_t length = 0;
  napi_typedarray_type type;
  if (napi_get_typedarray_info(env, array, &type, &length, &data, nullptr, nullptr) != napi_ok) return 0;
  if (type != napi_float64_array || length > most) return 0;
  for (std::size_t i = 0; i < length; ++i)
    numbers[i] = static_cast<std::uint64_t>(static_cast<const double*>(data)[i]);
  return length;
}

PolicySpec policyFrom(const std::uint64_t* numbers) {
  PolicySpec spec;
  spec.limit = numbers[0];
  spec.windowNs = numbers[1];
  spec.burst = numbers[2];
  spec.initial = numbers[3];
  spec.rememberNs = numbers[4];
  spec.evenly = numbers[5];
  return spec;
}

}  // namespace sluice
