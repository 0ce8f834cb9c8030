/*
 * What the same work costs a native program: answers every request on /reference/CLIENT/request with one
 * message on /reference/CLIENT/response. Without a MODEL it answers at once, with one it asks that
 * OpenAI-compatible server first, streamed, over one connection that is kept. FILE is the body of its requests.
 *
 *   gcc -O2 -o reference reference.c -lmosquitto -lcurl
 *   reference HOST PORT QOS MQTT_VERSION [MODEL [FILE]]
 */
#include <curl/curl.h>
#include <mosquitto.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static int qos;
static const char *model;
static CURL *curl;
static char answer[1 << 16];

static char question[1 << 20] =
    "{\"model\":\"m\",\"stream\":true,\"messages\":[{\"role\":\"user\",\"content\":\"How late is it?\"}]}";

/* Takes the text out of the deltas; a delta is never cut here, the server sends each in one write. */
static size_t take(char *data, size_t size, size_t count, void *unused) {
  static const char KEY[] = "\"content\":\"";
  size_t length = size * count;
  char *end = data + length;
  for (char *at = data; (at = memmem(at, end - at, KEY, sizeof KEY - 1)) != NULL;) {
    at += sizeof KEY - 1;
    char *quote = memchr(at, '"', end - at);
    if (quote == NULL) break;
    strncat(answer, at, quote - at);
    at = quote;
  }
  return length;
}

static void ask(void) {
  answer[0] = 0;
  CURLcode code = curl_easy_perform(curl);
  if (code != CURLE_OK) {
    fprintf(stderr, "%s\n", curl_easy_strerror(code));
    exit(1);
  }
}

static void connected(struct mosquitto *client, void *unused, int code) {
  if (code != 0) exit(1);
  mosquitto_subscribe(client, NULL, "/reference/+/request", qos);
}

static void received(struct mosquitto *client, void *unused, const struct mosquitto_message *message) {
  char topic[256], payload[sizeof answer + 64];
  size_t length = strlen(message->topic) - strlen("request");
  snprintf(topic, sizeof topic, "%.*sresponse", (int)length, message->topic);
  if (model == NULL) strcpy(answer, "It is late.");
  else ask();
  snprintf(payload, sizeof payload, "{\"text\":\"%s\",\"seq\":0,\"done\":true}", answer);
  mosquitto_publish(client, NULL, topic, strlen(payload), payload, qos, false);
}

int main(int count, char **words) {
  if (count < 5) return 2;
  qos = atoi(words[3]);
  model = count > 5 ? words[5] : NULL;
  if (model != NULL) {
    static char url[512];
    snprintf(url, sizeof url, "%s/chat/completions", model);
    curl_global_init(CURL_GLOBAL_DEFAULT);
    curl = curl_easy_init();
    struct curl_slist *headers = curl_slist_append(NULL, "content-type: application/json");
    curl_easy_setopt(curl, CURLOPT_URL, url);
    curl_easy_setopt(curl, CURLOPT_HTTPHEADER, headers);
    curl_easy_setopt(curl, CURLOPT_POSTFIELDS, question);
    curl_easy_setopt(curl, CURLOPT_WRITEFUNCTION, take);
  }
  if (count > 6) {
    FILE *file = fopen(words[6], "r");
    if (file == NULL) return 1;
    question[fread(question, 1, sizeof question - 1, file)] = 0;
    fclose(file);
  }
  mosquitto_lib_init();
  struct mosquitto *client = mosquitto_new("reference", true, NULL);
  mosquitto_int_option(client, MOSQ_OPT_PROTOCOL_VERSION, atoi(words[4]));
  mosquitto_int_option(client, MOSQ_OPT_TCP_NODELAY, 1);
  mosquitto_connect_callback_set(client, connected);
  mosquitto_message_callback_set(client, received);
  if (mosquitto_connect(client, words[1], atoi(words[2]), 60) != MOSQ_ERR_SUCCESS) return 1;
  return mosquitto_loop_forever(client, -1, 1) == MOSQ_ERR_SUCCESS ? 0 : 1;
}
