// What the example uses of ESP-IDF 5, on Linux; esp-idf.c has the rest.
#pragma once
#include <stddef.h>
#include <stdint.h>

typedef int esp_err_t;
enum { ESP_OK = 0, ESP_FAIL = -1, ESP_ERR_NO_MEM = 0x101, ESP_ERR_TIMEOUT = 0x107 };
#define ESP_ERROR_CHECK(call) ((void)(call))
