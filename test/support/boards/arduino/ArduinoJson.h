#pragma once
#include "Arduino.h"

struct JsonVariant {
  const char *operator|(const char *otherwise) const;
  int operator|(int otherwise) const;
  bool operator|(bool otherwise) const;
  JsonVariant operator[](const char *key) const;
  JsonVariant &operator=(const String &text);
};
struct JsonDocument {
  JsonVariant operator[](const char *key);
};
struct DeserializationError {
  explicit operator bool() const;
};
DeserializationError deserializeJson(JsonDocument &document, const uint8_t *input, size_t size);
size_t serializeJson(const JsonDocument &document, String &output);
