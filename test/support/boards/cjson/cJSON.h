// What the clients for boards use of cJSON, whose library comes with mosquitto's programs.
#pragma once
#include <stddef.h>

#ifdef __cplusplus
extern "C" {
#endif
typedef int cJSON_bool;
typedef struct cJSON {
    struct cJSON *next, *prev, *child;
    int type;
    char *valuestring;
    int valueint;
    double valuedouble;
    char *string;
} cJSON;
cJSON *cJSON_ParseWithLength(const char *value, size_t length);
cJSON *cJSON_GetObjectItem(const cJSON *object, const char *key);
char *cJSON_GetStringValue(const cJSON *item);
cJSON_bool cJSON_IsNumber(const cJSON *item);
cJSON_bool cJSON_IsTrue(const cJSON *item);
cJSON *cJSON_CreateObject(void);
cJSON *cJSON_AddStringToObject(cJSON *object, const char *key, const char *text);
char *cJSON_PrintUnformatted(const cJSON *item);
void cJSON_Delete(cJSON *item);
#ifdef __cplusplus
}
#endif
