#include "binding/arguments.h"

#include <cmath>
#include <new>

#include "core/units.h"

namespace sluice {

namespace {

constexpr double kMaxSafeInteger = 9007199254740991.0;

napi_valuetype typeOf(napi_env env, napi_value value) {
  napi_valuetype type = napi_undefined;
  napi_typeof(env, value, &type);
  return type;
}

// How an error shows the value it is about: numbers as they print, anything else by its type.
std::string shown(napi_env env, napi_value value) {
  switch (typeOf(env, value)) {
    case napi_number: {
      napi_value text;
      char buffer[64];
      std::size_t length = 0;
      if (napi_coerce_to_string(env, value, &text) != napi_ok) return "a number";
      napi_get_value_string_latin1(env, text, buffer, sizeof buffer, &length);
      return std::string(buffer, length);
    }
    case napi_undefined:
      return "undefined";
    case napi_null:
      return "null";
    case napi_boolean:
      return "a boolean";
    case napi_string:
      return "a string";
    case napi_symbol:
      return "a symbol";
    case napi_function:
      return "a function";
    case napi_bigint:
      return "a bigint";
    default:
      return "an object";
  }
}

bool readNumber(napi_env env, napi_value value, const char* name, const char* accepted, double* number) {
  if (napi_get_value_double(env, value, number) == napi_ok) return true;
  throwType(env, "ERR_SLUICE_ARGUMENT_TYPE",
            std::string(name) + " must be " + accepted + "; got " + shown(env, value));
  return false;
}

void throwOutOfRange(napi_env env, napi_value value, const char* name, const char* accepted) {
  throwRange(env, "ERR_SLUICE_ARGUMENT_RANGE",
             std::string(name) + " must be " + accepted + "; got " + shown(env, value));
}

}  // namespace

void throwType(napi_env env, const char* code, const std::string& message) {
  napi_throw_type_error(env, code, message.c_str());
}

void throwRange(napi_env env, const char* code, const std::string& message) {
  napi_throw_range_error(env, code, message.c_str());
}

bool readHalves(napi_env env, napi_value high, napi_value low, std::uint64_t* value) {
  Halves halves;
  if (napi_get_value_double(env, high, &halves.high) != napi_ok) return false;
  if (napi_get_value_double(env, low, &halves.low) != napi_ok) return false;
  *value = halves.joined();
  return true;
}

bool isUndefined(napi_env env, napi_value value) { return typeOf(env, value) == napi_undefined; }

bool readTokens(napi_env env, napi_value value, const char* name, std::uint64_t* tokens) {
  constexpr const char* kAccepted = "an integer from 0 to 9007199254740991";
  double number;
  if (!readNumber(env, value, name, kAccepted, &number)) return false;
  if (!(number >= 0 && number <= kMaxSafeInteger) || number != std::floor(number)) {
    throwOutOfRange(env, value, name, kAccepted);
    return false;
  }
  *tokens = static_cast<std::uint64_t>(number);
  return true;
}

bool readSpanMs(napi_env env, napi_value value, const char* name, std::uint64_t* ns) {
  constexpr const char* kAccepted = "a number of milliseconds from 0 to 4611686018427";
  double ms;
  if (!readNumber(env, value, name, kAccepted, &ms)) return false;
  if (!(ms >= 0 && ms <= 4611686018427.0)) {
    throwOutOfRange(env, value, name, kAccepted);
    return false;
  }
  *ns = static_cast<std::uint64_t>(std::llround(ms * static_cast<double>(kNsPerMs)));
  return true;
}

const char16_t* KeyReader::readText(napi_env env, napi_value text, std::size_t units) {
  std::size_t length;
  if (napi_get_value_string_utf16(env, text, nullptr, 0, &length) != napi_ok || length != units)
    return nullptr;
  if (longUnits_ < units + 1) {
    longBuffer_.reset(new (std::nothrow) char16_t[units + 1]);
    longUnits_ = longBuffer_ ? units + 1 : 0;
    if (!longBuffer_) return nullptr;
  }
  napi_get_value_string_utf16(env, text, longBuffer_.get(), units + 1, &length);
  return longBuffer_.get();
}

bool KeyReader::viewLong(napi_env env, napi_value key, KeyBytes* bytes) {
  std::size_t units;
  napi_get_value_string_utf16(env, key, nullptr, 0, &units);
  // What a giant key or batch took is given back when a key comes that needs much less.
  constexpr std::size_t kKeptUnits = 1 << 20;
  if (longUnits_ > kKeptUnits && units < kKeptUnits) {
    longBuffer_.reset();
    longUnits_ = 0;
  }
  const char16_t* text = readText(env, key, units);
  if (text == nullptr) {
    throwRange(env, "ERR_SLUICE_KEY_RANGE",
               "key of " + std::to_string(units) + " characters does not fit into memory");
    return false;
  }
  *bytes = {KeyKind::kString, text, units * sizeof(char16_t)};
  return true;
}

bool KeyReader::viewOther(napi_env env, napi_value key, KeyBytes* bytes) {
  double number;
  if (napi_get_value_double(env, key, &number) == napi_ok) {
    if (!(std::fabs(number) <= kMaxSafeInteger) || number != std::floor(number)) {
      throwRange(env, "ERR_SLUICE_KEY_RANGE", "a numeric key must be a safe integer; got " + shown(env, key));
      return false;
    }
    integer_ = static_cast<std::int64_t>(number);
    *bytes = {KeyKind::kInteger, &integer_, sizeof integer_};
    return true;
  }
  bool isTypedArray = false;
  napi_is_typedarray(env, key, &isTypedArray);
  if (isTypedArray) {
    napi_typedarray_type type;
    std::size_t length;
    void* data;
    napi_get_typedarray_info(env, key, &type, &length, &data, nullptr, nullptr);
    if (type == napi_uint8_array) {
      *bytes = {KeyKind::kBytes, data, length};
      return true;
    }
  }
  throwType(env, "ERR_SLUICE_KEY_TYPE",
            "key must be a string, a safe integer or a Uint8Array; got " + shown(env, key));
  return false;
}

}  // namespace sluice
