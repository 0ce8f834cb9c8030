// Asks picoclaw over MQTT, on an ESP32. Needs the libraries PubSubClient and ArduinoJson 7.
//
// PubSubClient throws away messages that do not fit into its buffer: set "max_message_bytes": 1024 for the
// channel, and no part is larger than BUFFER_BYTES here. It publishes with QoS 0, so that a request can be
// lost; the question goes out again then.

#include <ArduinoJson.h>
#include <PubSubClient.h>
#include <WiFi.h>

const char *WIFI_NAME = "…";
const char *WIFI_PASSWORD = "…";
const char *BROKER = "broker.lan";
const char *CLIENT = "kitchen";  // the user at the broker, and the client's level in the topics
const char *PASSWORD = "…";
const char *REQUEST = "/picoclaw/assistant/kitchen/request";
const char *RESPONSE = "/picoclaw/assistant/kitchen/response";

const uint16_t BUFFER_BYTES = 1024;
// After so long without a part the question goes out again, under the same id.
const unsigned long SILENCE_MS = 60000;

WiFiClient network;
PubSubClient mqtt(network);

// The question that waits for its answer; without an id there is none.
String questionId;
String question;
String answer;
int nextSeq = 0;
unsigned long sendInMs = 0;
unsigned long countedFrom = 0;

void beginAnswer() {
  answer = "";
  nextSeq = 0;
}

void sendIn(unsigned long ms) {
  countedFrom = millis();
  sendInMs = ms;
}

// Asks; the answer comes to answered() or failed(). One question at a time.
void ask(const String &text) {
  questionId = String((uint32_t)esp_random(), HEX) + String((uint32_t)esp_random(), HEX);
  question = text;
  sendIn(0);
}

void answered(const String &text) { Serial.println(text); }

void failed(const String &code, const String &text) { Serial.println(code + ": " + text); }

void received(char *, byte *payload, unsigned int length) {
  JsonDocument part;
  if (deserializeJson(part, payload, length)) return;
  String id = part["id"] | "";
  if (questionId == "" || id != questionId) return;
  String text = part["text"] | "";
  int seq = part["seq"] | 0;
  bool done = part["done"] | false;
  if (seq == 0) beginAnswer();  // or it begins again
  if (seq == nextSeq) {
    answer += text;
    nextSeq += 1;
  }
  sendIn(SILENCE_MS);
  if (!done) return;
  String code = part["error"]["code"] | "";
  int retryAfter = part["error"]["retry_after"] | -1;
  if (code != "" && retryAfter >= 0) {
    beginAnswer();  // these words are no part of the answer
    sendIn(retryAfter * 1000UL);  // busy, rate_limited: ask again then, under the same id
  } else if (code != "") {
    questionId = "";
    failed(code, text);
  } else if (nextSeq == seq + 1) {
    questionId = "";
    answered(answer);
  } else {
    sendIn(0);  // a part is missing: the same id gets the same answer again
  }
}

void connectToBroker() {
  if (mqtt.connect(CLIENT, CLIENT, PASSWORD)) {
    mqtt.subscribe(RESPONSE, 1);
    // An answer may have been lost with the connection: ask again. What must wait, waits.
    if (sendInMs == SILENCE_MS) sendIn(0);
  } else {
    Serial.printf("no connection to the broker: %d\n", mqtt.state());
    delay(5000);
  }
}

void sendWhatIsDue() {
  if (questionId == "" || millis() - countedFrom < sendInMs) return;
  JsonDocument request;
  request["text"] = question;
  request["id"] = questionId;
  String payload;
  serializeJson(request, payload);
  beginAnswer();
  mqtt.publish(REQUEST, payload.c_str());
  sendIn(SILENCE_MS);
}

void setup() {
  Serial.begin(115200);
  WiFi.begin(WIFI_NAME, WIFI_PASSWORD);
  while (WiFi.status() != WL_CONNECTED) delay(200);
  mqtt.setServer(BROKER, 1883);
  mqtt.setBufferSize(BUFFER_BYTES);
  mqtt.setKeepAlive(60);
  mqtt.setCallback(received);
  ask("What is the CPU usage?");
}

void loop() {
  if (!mqtt.connected()) connectToBroker();
  mqtt.loop();
  if (mqtt.connected()) sendWhatIsDue();
}
