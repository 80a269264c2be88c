// From JavaScript values to the core's arguments, and the errors for those that are none.
#pragma once

#include <node_api.h>

#include <cstdint>
#include <memory>
#include <string>

#include "core/hash.h"

namespace sluice {

// Throw a coded error into JavaScript.
void throwType(napi_env env, const char* code, const std::string& message);
void throwRange(napi_env env, const char* code, const std::string& message);

// What is hashed of a key.
struct KeyBytes {
  KeyKind kind;
  const void* data;
  std::size_t bytes;
};

// Reads keys into memory that is reused from call to call.
class KeyReader {
 public:
  // The key's digest, or a thrown ERR_SLUICE_KEY_TYPE or ERR_SLUICE_KEY_RANGE and false. Strings are taken as
  // UTF-16, which is what they are: no two different strings become the same bytes.
  bool read(napi_env env, napi_value key, const KeyHasher& hasher, Digest* digest) {
    KeyBytes bytes;
    if (!view(env, key, &bytes)) return false;
    *digest = hasher.hash(bytes.kind, bytes.data, bytes.bytes);
    return true;
  }

  // The same for who hashes it several times: the bytes are there until the next key is read.
  bool view(napi_env env, napi_value key, KeyBytes* bytes) {
    std::size_t units;
    if (napi_get_value_string_utf16(env, key, shortBuffer_, kShortUnits, &units) != napi_ok)
      return viewOther(env, key, bytes);
    if (units == kShortUnits - 1) return viewLong(env, key, bytes);
    *bytes = {KeyKind::kString, shortBuffer_, units * sizeof(char16_t)};
    return true;
  }

  // The whole of a string, of which `units` are expected. Null (and nothing thrown) if it is not so long.
  const char16_t* readText(napi_env env, napi_value text, std::size_t units);

  static Digest hashInteger(const KeyHasher& hasher, double integer) {
    const auto value = static_cast<std::int64_t>(integer);
    return hasher.hash(KeyKind::kInteger, &value, sizeof value);
  }

 private:
  static constexpr std::size_t kShortUnits = 256;

  bool viewLong(napi_env env, napi_value key, KeyBytes* bytes);
  bool viewOther(napi_env env, napi_value key, KeyBytes* bytes);

  char16_t shortBuffer_[kShortUnits];
  std::int64_t integer_ = 0;
  std::unique_ptr<char16_t[]> longBuffer_;
  std::size_t longUnits_ = 0;
};

// A count of tokens: an integer from 0 to 2^53-1. Else throws ERR_SLUICE_ARGUMENT_TYPE or _RANGE, false.
bool readTokens(napi_env env, napi_value value, const char* name, std::uint64_t* tokens);

// A span of time in ms, from 0 to about 146 years, as ns rounded to the nearest. Else throws likewise, false.
bool readSpanMs(napi_env env, napi_value value, const char* name, std::uint64_t* ns);

// A number of 64 bits in two halves, as it crosses without loss.
struct Halves {
  double high, low;
  static Halves of(std::uint64_t value) {
    return {static_cast<double>(value >> 32), static_cast<double>(value & 0xffff'ffff)};
  }
  std::uint64_t joined() const {
    return static_cast<std::uint64_t>(high) << 32 | static_cast<std::uint64_t>(low);
  }
};

// Two numbers that this addon has handed out. False only if they are none.
bool readHalves(napi_env env, napi_value high, napi_value low, std::uint64_t* value);

bool isUndefined(napi_env env, napi_value value);

}  // namespace sluice
