#include <stdio.h>
#include "esp_event.h"
#include "esp_netif.h"
#include "nvs_flash.h"
#include "picoclaw.h"
#include "protocol_examples_common.h"

void app_main(void) {
    ESP_ERROR_CHECK(nvs_flash_init());
    ESP_ERROR_CHECK(esp_netif_init());
    ESP_ERROR_CHECK(esp_event_loop_create_default());
    // Wi-Fi as `idf.py menuconfig` says, under "Example Connection Configuration".
    ESP_ERROR_CHECK(example_connect());

    const picoclaw_config_t config = {
        .uri = "mqtt://broker.lan",
        .client = "kitchen",
        .agent = "assistant",
    };
    ESP_ERROR_CHECK(picoclaw_start(&config));

    static char answer[4096];
    switch (picoclaw_ask("What is the CPU usage?", answer, sizeof answer, 120)) {
        case ESP_OK:
            printf("%s\n", answer);
            break;
        case ESP_ERR_TIMEOUT:
            printf("error: no answer in time\n");
            break;
        default:
            printf("error: %s\n", answer);
    }
}
