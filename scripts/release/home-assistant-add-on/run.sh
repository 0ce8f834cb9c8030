#!/usr/bin/with-contenv bashio
# Starts picoclaw with the broker that Home Assistant names. The functions of bashio come with its base image.
set -eu
export PICOCLAW_HOME=${PICOCLAW_HOME:-/data/home}
# The page is reached by ingress, from another container; it needs the token there.
export PICOCLAW_GATEWAY_HOST=${PICOCLAW_GATEWAY_HOST:-0.0.0.0}
PICOCLAW_CHANNELS_MQTT_BROKER="tcp://$(bashio::services mqtt host):$(bashio::services mqtt port)"
PICOCLAW_CHANNELS_MQTT_USERNAME=$(bashio::services mqtt username)
PICOCLAW_CHANNELS_MQTT_PASSWORD=$(bashio::services mqtt password)
PICOCLAW_CHANNELS_MQTT_AGENT_ID=$(bashio::config agent_id)
export PICOCLAW_CHANNELS_MQTT_BROKER PICOCLAW_CHANNELS_MQTT_USERNAME
export PICOCLAW_CHANNELS_MQTT_PASSWORD PICOCLAW_CHANNELS_MQTT_AGENT_ID

mkdir -p "$PICOCLAW_HOME"
config=$PICOCLAW_HOME/config.json
if [ ! -e "$config" ]; then
  model=$(bashio::config model '')
  umask 077
  # Not an argument: every process can read those of others.
  API_KEY=$(bashio::config api_key '') \
    jq --null-input --arg model "$model" --arg base "$(bashio::config api_base '')" '
    def unless_empty(name; value): if value == "" then {} else {(name): value} end;
    {
      channel_list: {mqtt: {enabled: true, type: "mqtt", settings: {broker: "tcp://core-mosquitto:1883", agent_id: "assistant"}}}
    } + if $model == "" then {} else {
      model_list: [{model_name: "default", model: $model} + unless_empty("api_base"; $base)
        + if $ENV.API_KEY == "" then {} else {api_keys: [$ENV.API_KEY]} end],
      agents: {defaults: {model_name: "default"}}
    } end' >"$config.new"
  mv "$config.new" "$config"
fi
exec picoclaw gateway
