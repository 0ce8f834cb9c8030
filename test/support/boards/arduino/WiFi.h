#pragma once
#include "Arduino.h"

class WiFiClient {};
enum wl_status_t { WL_CONNECTED = 3 };
struct WiFiClass {
  wl_status_t begin(const char *, const char *) { return WL_CONNECTED; }
  wl_status_t status() { return WL_CONNECTED; }
};
static WiFiClass WiFi;
