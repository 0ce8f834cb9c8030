// Asks picoclaw over MQTT, on ESP-IDF 5. Needs the components mqtt and json (cJSON).
//
// A message that is larger than the buffer of the MQTT client comes in pieces, which this file does not join:
// set "max_message_bytes": 4096 for the channel, and no part is larger than BUFFER_BYTES here.

#include "picoclaw.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include "cJSON.h"
#include "esp_log.h"
#include "esp_random.h"
#include "esp_timer.h"
#include "freertos/FreeRTOS.h"
#include "freertos/semphr.h"
#include "mqtt_client.h"

#define BUFFER_BYTES 4096
// After so long without a part the question goes out again, under the same id.
#define SILENCE_MS 60000

static const char *TAG = "picoclaw";

typedef enum { WAITING, ANSWERED, FAILED } state_t;

static esp_mqtt_client_handle_t mqtt;
static char request_topic[128];
static char response_topic[128];
// Guards what follows: the task of the MQTT client writes it, the one that asks reads it.
static SemaphoreHandle_t lock;
static bool is_ready;
static char id[24];
static char *answer_buffer;
static size_t answer_size;
static int next_seq;
static state_t state;
static int64_t send_at;
static int64_t not_before;

static int64_t now_ms(void) { return esp_timer_get_time() / 1000; }

static void begin_answer(void) {
    answer_buffer[0] = '\0';
    next_seq = 0;
}

static void append(const char *text) {
    size_t used = strlen(answer_buffer);
    snprintf(answer_buffer + used, answer_size - used, "%s", text);
}

static const char *text_of(const cJSON *object, const char *key) {
    const char *text = cJSON_GetStringValue(cJSON_GetObjectItem(object, key));
    return text == NULL ? "" : text;
}

static int number_of(const cJSON *object, const char *key, int otherwise) {
    const cJSON *item = cJSON_GetObjectItem(object, key);
    return cJSON_IsNumber(item) ? item->valueint : otherwise;
}

static void take_error(const cJSON *part, const cJSON *error) {
    int retry_after = number_of(error, "retry_after", -1);
    if (retry_after >= 0) {
        // busy, rate_limited: ask again then, under the same id. These words are no part of the answer.
        begin_answer();
        send_at = not_before = now_ms() + retry_after * 1000LL;
        return;
    }
    snprintf(answer_buffer, answer_size, "%s: %s", text_of(error, "code"), text_of(part, "text"));
    state = FAILED;
}

static void take_part(const cJSON *part) {
    if (state != WAITING || id[0] == '\0' || strcmp(text_of(part, "id"), id) != 0) return;
    int seq = number_of(part, "seq", 0);
    if (seq == 0) begin_answer();
    if (seq == next_seq) {
        append(text_of(part, "text"));
        next_seq += 1;
    }
    send_at = now_ms() + SILENCE_MS;
    if (!cJSON_IsTrue(cJSON_GetObjectItem(part, "done"))) return;
    const cJSON *error = cJSON_GetObjectItem(part, "error");
    if (error != NULL) {
        take_error(part, error);
    } else if (next_seq == seq + 1) {
        state = ANSWERED;
    } else {
        // A part is missing: the same id gets the same answer again.
        send_at = now_ms();
    }
}

static void on_event(void *arg, esp_event_base_t base, int32_t event_id, void *data) {
    esp_mqtt_event_handle_t event = data;
    cJSON *part = NULL;
    xSemaphoreTake(lock, portMAX_DELAY);
    switch ((esp_mqtt_event_id_t)event_id) {
        case MQTT_EVENT_CONNECTED:
            esp_mqtt_client_subscribe(mqtt, response_topic, 1);
            break;
        case MQTT_EVENT_SUBSCRIBED:
            is_ready = true;
            // An answer may have been lost with the connection: ask again, under the same id.
            send_at = not_before;
            break;
        case MQTT_EVENT_DISCONNECTED:
            is_ready = false;
            break;
        case MQTT_EVENT_DATA:
            if (event->data_len != event->total_data_len) {
                ESP_LOGW(TAG, "a part of %d bytes is too large", event->total_data_len);
                break;
            }
            part = cJSON_ParseWithLength(event->data, event->data_len);
            if (part != NULL && !event->retain) take_part(part);
            cJSON_Delete(part);
            break;
        default:
            break;
    }
    xSemaphoreGive(lock);
}

esp_err_t picoclaw_start(const picoclaw_config_t *config) {
    snprintf(request_topic, sizeof request_topic, "/picoclaw/%s/%s/request", config->agent, config->client);
    snprintf(response_topic, sizeof response_topic, "/picoclaw/%s/%s/response", config->agent, config->client);
    const esp_mqtt_client_config_t settings = {
        .broker.address.uri = config->uri,
        .broker.verification.certificate = config->certificate,
        .credentials.username = config->password == NULL ? NULL : config->client,
        .credentials.authentication.password = config->password,
        .session.keepalive = 60,
        .buffer.size = BUFFER_BYTES,
    };
    lock = xSemaphoreCreateMutex();
    mqtt = esp_mqtt_client_init(&settings);
    if (lock == NULL || mqtt == NULL) return ESP_ERR_NO_MEM;
    esp_mqtt_client_register_event(mqtt, MQTT_EVENT_ANY, on_event, NULL);
    return esp_mqtt_client_start(mqtt);
}

static char *payload_of(const char *text) {
    cJSON *request = cJSON_CreateObject();
    cJSON_AddStringToObject(request, "text", text);
    cJSON_AddStringToObject(request, "id", id);
    char *payload = cJSON_PrintUnformatted(request);
    cJSON_Delete(request);
    return payload;
}

static bool take_due(void) {
    xSemaphoreTake(lock, portMAX_DELAY);
    bool is_due = is_ready && now_ms() >= send_at;
    if (is_due) {
        begin_answer();
        send_at = now_ms() + SILENCE_MS;
    }
    xSemaphoreGive(lock);
    return is_due;
}

esp_err_t picoclaw_ask(const char *text, char *answer, size_t size, int timeout_seconds) {
    int64_t deadline = now_ms() + timeout_seconds * 1000LL;
    xSemaphoreTake(lock, portMAX_DELAY);
    snprintf(id, sizeof id, "%08lx%08lx", (unsigned long)esp_random(), (unsigned long)esp_random());
    answer_buffer = answer;
    answer_size = size;
    begin_answer();
    state = WAITING;
    send_at = not_before = 0;
    xSemaphoreGive(lock);
    char *payload = payload_of(text);
    if (payload == NULL) return ESP_ERR_NO_MEM;
    while (state == WAITING && now_ms() < deadline) {
        // Outside of the lock: the MQTT client has one of its own, which it holds when it calls on_event.
        if (take_due()) esp_mqtt_client_publish(mqtt, request_topic, payload, 0, 1, 0);
        vTaskDelay(pdMS_TO_TICKS(50));
    }
    free(payload);
    xSemaphoreTake(lock, portMAX_DELAY);
    state_t ended = state;
    id[0] = '\0';
    xSemaphoreGive(lock);
    if (ended == WAITING) return ESP_ERR_TIMEOUT;
    return ended == ANSWERED ? ESP_OK : ESP_FAIL;
}
