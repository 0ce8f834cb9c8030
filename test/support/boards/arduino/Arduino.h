// What the sketch uses of Arduino's core for the ESP32, to check its syntax.
#pragma once
#include <cstddef>
#include <cstdint>

typedef uint8_t byte;
typedef bool boolean;
enum { HEX = 16 };

class String {
 public:
  String(const char *text = "");
  String(unsigned long number, unsigned char base);
  String &operator+=(const String &other);
  String operator+(const char *other) const;
  String operator+(const String &other) const;
  bool operator==(const char *other) const;
  bool operator==(const String &other) const;
  bool operator!=(const char *other) const;
  bool operator!=(const String &other) const;
  const char *c_str() const;
};

struct HardwareSerial {
  void begin(unsigned long baud);
  size_t println(const String &text);
  size_t printf(const char *format, ...) __attribute__((format(printf, 2, 3)));
};
extern HardwareSerial Serial;

unsigned long millis();
void delay(unsigned long ms);
uint32_t esp_random();
