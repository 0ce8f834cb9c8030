#pragma once
#define ESP_LOGW(tag, ...) ((void)(tag), (void)printf(__VA_ARGS__))
