// Payloads come by lines of standard input, and go to file descriptor 3.
#pragma once
#include <poll.h>
#include <unistd.h>
#include <iostream>
#include "WiFi.h"

class PubSubClient {
 public:
  explicit PubSubClient(WiFiClient &) {}
  PubSubClient &setServer(const char *, uint16_t) { return *this; }
  PubSubClient &setKeepAlive(uint16_t) { return *this; }
  PubSubClient &setCallback(void (*received)(char *, uint8_t *, unsigned int)) {
    callback = received;
    return *this;
  }
  boolean setBufferSize(uint16_t) { return true; }
  boolean connect(const char *, const char *, const char *) {
    std::string line;
    return isConnected = bool(std::getline(std::cin, line));
  }
  boolean publish(const char *, const char *payload) { return dprintf(3, "%s\n", payload) > 0; }
  boolean subscribe(const char *topic, uint8_t) {
    subscribed = topic;
    return true;
  }
  boolean loop() {
    pollfd input = {0, POLLIN, 0};
    if (std::cin.rdbuf()->in_avail() <= 0 && poll(&input, 1, 20) <= 0) return true;
    std::string line;
    if (!std::getline(std::cin, line)) std::exit(1);
    callback(subscribed.data(), reinterpret_cast<uint8_t *>(line.data()), line.size());
    return true;
  }
  boolean connected() { return isConnected; }
  int state() { return isConnected ? 0 : -1; }

 private:
  void (*callback)(char *, uint8_t *, unsigned int) = nullptr;
  std::string subscribed;
  bool isConnected = false;
};

void setup();
void loop();
int main() {
  std::ios::sync_with_stdio(false);
  for (setup();;) loop();
}
