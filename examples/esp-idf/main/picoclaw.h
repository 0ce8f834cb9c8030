// Asks picoclaw over MQTT, on ESP-IDF 5.
#pragma once

#include <stdbool.h>
#include "esp_err.h"

typedef struct {
    const char *uri;          // mqtt://broker.lan, or mqtts:// with a certificate
    const char *certificate;  // of the authority, in PEM; NULL without TLS
    const char *client;       // the user at the broker, and the client's level in the topics
    const char *password;     // NULL without
    const char *agent;        // assistant
} picoclaw_config_t;

// Connects in the background; the network must be there.
esp_err_t picoclaw_start(const picoclaw_config_t *config);

// Asks, and waits for the whole answer, which is cut to size - 1 bytes. ESP_FAIL: the agent answered with an
// error, and `answer` says which. ESP_ERR_TIMEOUT: no answer in time. From one task at a time.
esp_err_t picoclaw_ask(const char *text, char *answer, size_t size, int timeout_seconds);
