#pragma once
#include "WiFi.h"

class PubSubClient {
 public:
  explicit PubSubClient(WiFiClient &network);
  PubSubClient &setServer(const char *domain, uint16_t port);
  PubSubClient &setCallback(void (*callback)(char *, uint8_t *, unsigned int));
  PubSubClient &setKeepAlive(uint16_t seconds);
  boolean setBufferSize(uint16_t size);
  boolean connect(const char *id, const char *user, const char *password);
  boolean publish(const char *topic, const char *payload);
  boolean subscribe(const char *topic, uint8_t qos);
  boolean loop();
  boolean connected();
  int state();
};
