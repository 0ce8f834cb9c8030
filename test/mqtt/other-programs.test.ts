import assert from "node:assert/strict";
import { describe, it } from "node:test";
import { openTestInventory, readingsOf } from "../support/home/inventory.ts";

interface Case {
  /** The program, and the file of its source that has these keys and values. */
  readonly of: string;
  /** Before `/config`. */
  readonly id: string;
  readonly config: object;
  readonly reports?: readonly (readonly [topic: string, payload: string])[];
  readonly reads?: Readonly<Record<string, unknown>>;
  readonly sets?: readonly (readonly [wanted: Record<string, string | number>, sent: string])[];
}

const ESPHOME = "ESPHome, components/mqtt";
const ZWAVE = "Z-Wave JS UI, api/hass";
const TASMOTA = "Tasmota before its own discovery, xdrv_12_home_assistant.ino";

const CASES: readonly Case[] = [
  {
    of: `${ESPHOME}/mqtt_cover.cpp before 2024.6: a position, and no state`,
    id: "cover/node/gate",
    config: { pos_t: "n/gate/pos", set_pos_t: "n/gate/pos/set", name: "Gate", cmd_t: "n/gate/set" },
    reports: [["n/gate/pos", "0"]],
    reads: { state: "closed", position: 0 },
    sets: [[{ state: "open" }, "n/gate/set OPEN"]],
  },
  {
    of: `${ESPHOME}/mqtt_light.cpp, light_json_schema.cpp`,
    id: "light/node/strip",
    config: {
      schema: "json",
      clrm: true,
      supported_color_modes: ["color_temp", "rgbww"],
      brightness: true,
      min_mirs: 153,
      max_mirs: 500,
      name: "",
      stat_t: "n/strip/state",
      cmd_t: "n/strip/command",
      dev: { ids: "a1", name: "Strip" },
    },
    reports: [
      [
        "n/strip/state",
        '{"color_mode":"rgbww","state":"ON","brightness":128,"color":{"r":255,"g":136,"b":0,"c":0,"w":0}}',
      ],
    ],
    reads: { state: "on", brightness: 50, color_temperature: undefined, color: "#ff8800" },
    sets: [
      [
        { brightness: 20, color_temperature: 4000 },
        'n/strip/command {"state":"ON","brightness":51,"color_temp":250}',
      ],
    ],
  },
  {
    of: `${ESPHOME}/mqtt_climate.cpp`,
    id: "climate/node/ac",
    config: {
      curr_temp_t: "n/ac/current",
      mode_cmd_t: "n/ac/mode/command",
      mode_stat_t: "n/ac/mode/state",
      modes: ["off", "cool", "heat", "heat_cool"],
      temp_lo_cmd_t: "n/ac/low/command",
      temp_lo_stat_t: "n/ac/low/state",
      temp_hi_cmd_t: "n/ac/high/command",
      temp_hi_stat_t: "n/ac/high/state",
      min_temp: 16,
      max_temp: 30,
      temp_step: 0.5,
      temp_unit: "C",
      act_t: "n/ac/action",
      swing_mode_cmd_t: "n/ac/swing/command",
      swing_mode_stat_t: "n/ac/swing/state",
      swing_modes: ["off", "vertical"],
      name: "AC",
    },
    reports: [
      ["n/ac/current", "24.5"],
      ["n/ac/mode/state", "cool"],
      ["n/ac/low/state", "20.0"],
      ["n/ac/high/state", "23.0"],
      ["n/ac/action", "cooling"],
      ["n/ac/swing/state", "off"],
    ],
    reads: {
      temperature_low: 20,
      temperature_high: 23,
      mode: "cool",
      swing_mode: "off",
      action: "cooling",
      "current temperature": "24.5",
    },
    sets: [
      [{ temperature_high: 24.6 }, "n/ac/high/command 24.5"],
      [{ swing_mode: "vertical" }, "n/ac/swing/command vertical"],
    ],
  },
  {
    of: `${ESPHOME}/mqtt_fan.cpp`,
    id: "fan/node/fan",
    config: {
      dir_cmd_t: "n/fan/direction/command",
      dir_stat_t: "n/fan/direction/state",
      osc_cmd_t: "n/fan/oscillation/command",
      osc_stat_t: "n/fan/oscillation/state",
      pct_cmd_t: "n/fan/speed/command",
      pct_stat_t: "n/fan/speed/state",
      spd_rng_max: 4,
      name: "Fan",
      stat_t: "n/fan/state",
      cmd_t: "n/fan/command",
    },
    reports: [
      ["n/fan/state", "ON"],
      ["n/fan/speed/state", "3"],
      ["n/fan/direction/state", "forward"],
      ["n/fan/oscillation/state", "oscillate_off"],
    ],
    reads: { state: "on", speed: 75, oscillation: "off", direction: "forward" },
    sets: [
      [{ speed: 50 }, "n/fan/speed/command 2"],
      [{ oscillation: "on" }, "n/fan/oscillation/command oscillate_on"],
      [{ direction: "reverse" }, "n/fan/direction/command reverse"],
    ],
  },
  {
    of: `${ESPHOME}/mqtt_lock.cpp`,
    id: "lock/node/door",
    config: { pl_open: "OPEN", name: "Door", stat_t: "n/door/state", cmd_t: "n/door/command" },
    reports: [["n/door/state", "LOCKING"]],
    reads: { state: "locking" },
    sets: [
      [{ state: "unlock" }, "n/door/command UNLOCK"],
      [{ state: "open" }, "n/door/command OPEN"],
    ],
  },
  {
    of: `${ESPHOME}/mqtt_valve.cpp`,
    id: "valve/node/tap",
    config: {
      dev_cla: "water",
      pos_t: "n/tap/position/state",
      set_pos_t: "n/tap/position/command",
      name: "Tap",
      stat_t: "n/tap/state",
      cmd_t: "n/tap/command",
    },
    reports: [["n/tap/state", "opening"]],
    reads: { state: "opening" },
    sets: [[{ state: "close" }, "n/tap/command CLOSE"]],
  },
  {
    of: `${ESPHOME}/mqtt_event.cpp`,
    id: "event/node/bell",
    config: { event_types: ["press", "hold"], name: "Bell", stat_t: "n/bell/state" },
    reports: [["n/bell/state", '{"event_type":"press"}']],
    reads: { state: "press" },
  },
  {
    of: `${ESPHOME}/mqtt_update.cpp`,
    id: "update/node/firmware",
    config: {
      schema: "json",
      pl_inst: "INSTALL",
      name: "Firmware",
      stat_t: "n/firmware/state",
      cmd_t: "n/firmware/command",
    },
    reports: [
      ["n/firmware/state", '{"installed_version":"1.0","latest_version":"1.1","title":"x"}'],
    ],
    reads: { state: "1.0", "latest version": "1.1" },
  },
  {
    of: `${ESPHOME}/mqtt_text.cpp`,
    id: "text/node/line",
    config: { mode: "text", name: "Line", stat_t: "n/line/state", cmd_t: "n/line/command" },
    reports: [["n/line/state", "hello"]],
    reads: { value: "hello" },
    sets: [[{ value: "Tea, now" }, "n/line/command Tea, now"]],
  },
  {
    of: `${ZWAVE}/configurations.ts, a dimmer`,
    id: "light/nodeID_2/dimmer",
    config: {
      command_topic: "zwave/2/38/0/targetValue/set",
      state_topic: "zwave/2/38/0/currentValue",
      state_value_template: '{{ "OFF" if value_json.value == 0 else "ON" }}',
      brightness_command_topic: "zwave/2/38/0/targetValue/set",
      brightness_scale: 99,
      brightness_state_topic: "zwave/2/38/0/currentValue",
      brightness_value_template: "{{ value_json.value }}",
      on_command_type: "brightness",
      payload_off: 0,
      name: "Dimmer",
    },
    reports: [["zwave/2/38/0/currentValue", '{"time":1,"value":50}']],
    reads: { state: "on", brightness: 51 },
    sets: [
      [{ brightness: 100 }, "zwave/2/38/0/targetValue/set 99"],
      [{ state: "on" }, "zwave/2/38/0/targetValue/set 50"],
      [{ state: "off" }, "zwave/2/38/0/targetValue/set 0"],
    ],
  },
  {
    of: `${ZWAVE}/configurations.ts, a cover with a position`,
    id: "cover/nodeID_3/position",
    config: {
      command_topic: "zwave/3/38/0/targetValue/set",
      position_topic: "zwave/3/38/0/currentValue",
      set_position_topic: "zwave/3/38/0/targetValue/set",
      position_template: "{{ value_json.value | round(0) }}",
      position_open: 99,
      position_closed: 0,
      payload_open: "99",
      payload_close: "0",
      payload_stop: "stop",
      name: "Blind",
    },
    reports: [["zwave/3/38/0/currentValue", '{"value":99}']],
    reads: { state: "open", position: 100 },
    sets: [
      [{ position: 50 }, "zwave/3/38/0/targetValue/set 50"],
      [{ state: "stop" }, "zwave/3/38/0/targetValue/set stop"],
    ],
  },
  {
    of: `${ZWAVE}/devices.ts, Siegenia Aeropac`,
    id: "fan/nodeID_4/dimmer",
    config: {
      command_topic: "zwave/4/set",
      percentage_command_topic: "zwave/4/set",
      percentage_state_topic: "zwave/4",
      speed_range_min: 1,
      speed_range_max: 7,
      percentage_value_template:
        "{{ {0:0, 16: 1, 32: 2, 48: 3, 64: 4, 80: 5, 96: 6, 99: 7}[value_json.value] }}",
      percentage_command_template:
        "{{ {0:0, 1: 16, 2: 32, 3: 48, 4: 64, 5: 80, 6: 96, 7: 99}[value] }}",
      preset_mode_command_topic: "zwave/4/set",
      preset_mode_state_topic: "zwave/4",
      preset_modes: ["off", "silent"],
      preset_mode_command_template: "{{ {'off': 0, 'silent': 16}[value] }}",
      preset_mode_value_template: "{{ {0:'off', 16: 'silent'}[value_json.value] }}",
      name: "Vent",
    },
    reports: [["zwave/4", '{"value":16}']],
    reads: { speed: 14, preset: "silent" },
    sets: [
      [{ speed: 100 }, "zwave/4/set 99"],
      [{ preset: "silent" }, "zwave/4/set 16"],
    ],
  },
  {
    of: `${TASMOTA}, a light`,
    id: "light/2F4A1B_LI_1",
    config: {
      name: "Led",
      stat_t: "tele/led/STATE",
      avty_t: "tele/led/LWT",
      pl_avail: "Online",
      pl_not_avail: "Offline",
      cmd_t: "cmnd/led/POWER",
      pl_off: "OFF",
      pl_on: "ON",
      stat_val_tpl: "{{value_json.POWER}}",
      uniq_id: "2F4A1B_LI_1",
      dev: { ids: ["2F4A1B"] },
      bri_cmd_t: "cmnd/led/Dimmer",
      bri_stat_t: "tele/led/STATE",
      bri_scl: 100,
      on_cmd_type: "brightness",
      bri_val_tpl: "{{value_json.Dimmer}}",
      hs_cmd_t: "cmnd/led/HSBColor",
      hs_stat_t: "tele/led/STATE",
      hs_val_tpl: "{{value_json.HSBColor.split(',')[0:2]|join(',')}}",
    },
    reports: [["tele/led/STATE", '{"POWER":"ON","Dimmer":40,"HSBColor":"120,100,40"}']],
    reads: { state: "on", brightness: 40, color: "#00ff00" },
    sets: [
      [{ color: "#ff8800" }, "cmnd/led/HSBColor 32,100"],
      [{ brightness: 30 }, "cmnd/led/Dimmer 30"],
    ],
  },
  {
    of: "rtl_433, examples/rtl_433_mqtt_hass.py",
    id: "sensor/ID3/ID3-B",
    config: {
      device_class: "battery",
      unit_of_measurement: "%",
      value_template: "{{ float(value) * 99 + 1 }}",
      state_topic: "rtl_433/P1/ID3/battery_ok",
      name: "ID3-B",
    },
    reports: [["rtl_433/P1/ID3/battery_ok", "1"]],
    reads: { state: 100 },
  },
  {
    of: "OpenMQTTGateway, main/ZmqttDiscovery.ino",
    id: "number/gateway/away",
    config: {
      stat_t: "home/gateway/BTtoMQTT",
      cmd_t: "home/gateway/commands/MQTTtoBT/config",
      val_tpl: "{{ value_json.presenceawaytimer/60000 }}",
      cmd_tpl: '{"presenceawaytimer":{{value*60000}},"save":true}',
      name: "Away after",
      unit_of_meas: "min",
    },
    reports: [["home/gateway/BTtoMQTT", '{"presenceawaytimer":120000}']],
    reads: { value: 2 },
    sets: [
      [
        { value: "3" },
        'home/gateway/commands/MQTTtoBT/config {"presenceawaytimer":180000,"save":true}',
      ],
    ],
  },
  {
    of: "Valetudo, backend/lib/MqttClient.js",
    id: "vacuum/robot/robot",
    config: {
      name: "Robot",
      schema: "state",
      supported_features: ["start", "pause", "stop", "return_home", "locate", "fan_speed"],
      command_topic: "valetudo/robot/command",
      state_topic: "valetudo/robot/state",
      set_fan_speed_topic: "valetudo/robot/set_fan_speed",
      fan_speed_list: ["min", "max"],
      send_command_topic: "valetudo/robot/custom_command",
    },
    reports: [["valetudo/robot/state", '{"state":"docked","battery_level":98,"fan_speed":"min"}']],
    reads: { state: "docked", fan_mode: "min", battery: 98 },
    sets: [
      [{ state: "start" }, "valetudo/robot/command start"],
      [{ state: "return" }, "valetudo/robot/command return_to_base"],
      [{ fan_mode: "max" }, "valetudo/robot/set_fan_speed max"],
    ],
  },
];

describe("what other programs announce, by their sources", () => {
  for (const { of, id, config, reports = [], reads, sets = [] } of CASES) {
    it(`is read and set: ${of}`, async () => {
      using set = await openTestInventory();
      set.announce(id, config);
      for (const [topic, payload] of reports) set.report(topic, payload);
      const entity = set.entity(id);
      if (reads !== undefined) assert.deepEqual(readingsOf(entity), reads);
      for (const [wanted, sent] of sets) {
        assert.deepEqual(await set.sent(entity, wanted), [sent]);
      }
    });
  }
});
