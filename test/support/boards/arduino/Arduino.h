// What the sketch uses of Arduino's core for the ESP32, on Linux.
#pragma once
#include <chrono>
#include <cstdarg>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <string>
#include <thread>

typedef uint8_t byte;
typedef bool boolean;
enum { HEX = 16 };

class String {
 public:
  String(const char *text = "") : text(text) {}
  String(unsigned long number, unsigned char) {
    char digits[20];
    std::snprintf(digits, sizeof digits, "%lx", number);
    text = digits;
  }
  String &operator+=(const String &other) {
    text += other.text;
    return *this;
  }
  String operator+(const String &other) const { return String((text + other.text).c_str()); }
  bool operator==(const String &other) const { return text == other.text; }
  bool operator!=(const String &other) const { return text != other.text; }
  const char *c_str() const { return text.c_str(); }

 private:
  std::string text;
};

struct HardwareSerial {
  void begin(unsigned long) {}
  // The first line is the answer, and the end.
  void println(const String &text) {
    std::puts(text.c_str());
    std::exit(0);
  }
  void printf(const char *format, ...) __attribute__((format(printf, 2, 3))) {
    va_list values;
    va_start(values, format);
    std::vprintf(format, values);
    va_end(values);
  }
};
static HardwareSerial Serial;

inline unsigned long millis() {
  using namespace std::chrono;
  return duration_cast<milliseconds>(steady_clock::now().time_since_epoch()).count();
}
inline void delay(unsigned long ms) { std::this_thread::sleep_for(std::chrono::milliseconds(ms)); }
inline uint32_t esp_random() {
  static uint32_t state = 7;
  return state = state * 1664525 + 1013904223;
}
