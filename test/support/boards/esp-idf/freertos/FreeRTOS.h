#pragma once
#include <stdint.h>

typedef uint32_t TickType_t;
#define portMAX_DELAY ((TickType_t)0xffffffff)
#define pdMS_TO_TICKS(ms) ((TickType_t)((ms) / 10))
void vTaskDelay(TickType_t ticks);
