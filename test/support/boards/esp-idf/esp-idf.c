// Payloads come by lines of standard input, and go to file descriptor 3.
#define _GNU_SOURCE
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>
#include "esp_event.h"
#include "freertos/FreeRTOS.h"
#include "freertos/semphr.h"
#include "mqtt_client.h"

void app_main(void);

static esp_event_handler_t on_event;

esp_err_t esp_event_loop_create_default(void) { return ESP_OK; }
esp_err_t esp_netif_init(void) { return ESP_OK; }
esp_err_t nvs_flash_init(void) { return ESP_OK; }
esp_err_t example_connect(void) { return ESP_OK; }
uint32_t esp_random(void) { return (uint32_t)random(); }
void vTaskDelay(TickType_t ticks) { usleep(ticks * 10000); }

int64_t esp_timer_get_time(void) {
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return now.tv_sec * 1000000LL + now.tv_nsec / 1000;
}

SemaphoreHandle_t xSemaphoreCreateMutex(void) {
    pthread_mutex_t *mutex = malloc(sizeof *mutex);
    pthread_mutex_init(mutex, NULL);
    return (SemaphoreHandle_t)mutex;
}
int xSemaphoreTake(SemaphoreHandle_t semaphore, TickType_t ticks) {
    return pthread_mutex_lock((pthread_mutex_t *)semaphore) == 0;
}
int xSemaphoreGive(SemaphoreHandle_t semaphore) {
    return pthread_mutex_unlock((pthread_mutex_t *)semaphore) == 0;
}

static void emit(esp_mqtt_event_id_t id, char *data) {
    int length = data == NULL ? 0 : (int)strlen(data);
    esp_mqtt_event_t event = {.data = data, .data_len = length, .total_data_len = length};
    on_event(NULL, "MQTT_EVENTS", id, &event);
}

// The first line says that input comes.
static void *receive(void *arg) {
    char *line = NULL;
    size_t size = 0;
    if (getline(&line, &size, stdin) < 0) return NULL;
    emit(MQTT_EVENT_CONNECTED, NULL);
    emit(MQTT_EVENT_SUBSCRIBED, NULL);
    while (getline(&line, &size, stdin) >= 0) emit(MQTT_EVENT_DATA, line);
    free(line);
    return NULL;
}

esp_mqtt_client_handle_t esp_mqtt_client_init(const esp_mqtt_client_config_t *config) {
    return (esp_mqtt_client_handle_t)1;
}
esp_err_t esp_mqtt_client_register_event(esp_mqtt_client_handle_t client, esp_mqtt_event_id_t event,
                                         esp_event_handler_t handler, void *arg) {
    on_event = handler;
    return ESP_OK;
}
esp_err_t esp_mqtt_client_start(esp_mqtt_client_handle_t client) {
    pthread_t thread;
    return pthread_create(&thread, NULL, receive, NULL) == 0 ? ESP_OK : ESP_FAIL;
}
int esp_mqtt_client_subscribe(esp_mqtt_client_handle_t client, const char *topic, int qos) { return 1; }
int esp_mqtt_client_publish(esp_mqtt_client_handle_t client, const char *topic, const char *data, int len,
                            int qos, int retain) {
    return dprintf(3, "%s\n", data);
}

int main(void) {
    app_main();
    return 0;
}
