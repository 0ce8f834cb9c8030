// What the sketch uses of ArduinoJson, over cJSON.
#pragma once
#include "Arduino.h"
#include "cJSON.h"

class JsonVariant {
 public:
  JsonVariant(cJSON *parent, const char *key) : parent(parent), key(key) {}
  const char *operator|(const char *otherwise) const {
    const char *text = cJSON_GetStringValue(item());
    return text == nullptr ? otherwise : text;
  }
  int operator|(int otherwise) const {
    return cJSON_IsNumber(item()) ? item()->valueint : otherwise;
  }
  bool operator|(bool otherwise) const { return item() == nullptr ? otherwise : cJSON_IsTrue(item()); }
  JsonVariant operator[](const char *inner) const { return JsonVariant(item(), inner); }
  void operator=(const String &text) { cJSON_AddStringToObject(parent, key, text.c_str()); }

 private:
  cJSON *item() const { return cJSON_GetObjectItem(parent, key); }
  cJSON *parent;
  const char *key;
};

struct JsonDocument {
  cJSON *root = cJSON_CreateObject();
  ~JsonDocument() { cJSON_Delete(root); }
  JsonVariant operator[](const char *key) { return JsonVariant(root, key); }
};

struct DeserializationError {
  bool failed;
  explicit operator bool() const { return failed; }
};

inline DeserializationError deserializeJson(JsonDocument &document, const uint8_t *input, size_t size) {
  cJSON_Delete(document.root);
  document.root = cJSON_ParseWithLength(reinterpret_cast<const char *>(input), size);
  return {document.root == nullptr};
}

inline void serializeJson(const JsonDocument &document, String &output) {
  char *text = cJSON_PrintUnformatted(document.root);
  output = text;
  std::free(text);
}
