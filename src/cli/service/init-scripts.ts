import { shellWord } from "../shell-word.ts";
import { STATE_FOLDER } from "./unit.ts";

/** A script for an init system other than systemd, and how to put it to use. */
export interface InitScript {
  readonly file: string;
  readonly text: string;
  readonly commands: readonly string[];
}

/** The script for OpenRC (Alpine, Gentoo). */
export function openrcScript(program: readonly string[]): InitScript {
  const [command = "", ...args] = program;
  return {
    file: "/etc/init.d/picoclaw",
    text: `#!/sbin/openrc-run
# Written by: picoclaw service install
description="picoclaw: an AI agent behind an MQTT topic"
supervisor=supervise-daemon
command=${shellWord(command)}
command_args=${shellWord([...args, "gateway"].map(shellWord).join(" "))}
command_user="picoclaw"
respawn_delay=5
respawn_max=0
output_log="/var/log/picoclaw.log"
error_log="/var/log/picoclaw.log"
export PICOCLAW_HOME="${STATE_FOLDER}"

depend() {
	need net
	after mosquitto
}

start_pre() {
	checkpath --directory --owner picoclaw --mode 0700 "$PICOCLAW_HOME"
	checkpath --file --owner picoclaw --mode 0600 /var/log/picoclaw.log
}
`,
    commands: [
      "addgroup -S picoclaw; adduser -S -D -H -G picoclaw picoclaw",
      "chmod 755 /etc/init.d/picoclaw",
      "rc-update add picoclaw default",
      "rc-service picoclaw start",
    ],
  };
}

/** The script for procd (OpenWrt). */
export function procdScript(program: readonly string[]): InitScript {
  return {
    file: "/etc/init.d/picoclaw",
    text: `#!/bin/sh /etc/rc.common
# Written by: picoclaw service install
START=95
STOP=10
USE_PROCD=1

start_service() {
	mkdir -p -m 700 ${STATE_FOLDER}
	procd_open_instance
	procd_set_param command ${[...program, "gateway"].map(shellWord).join(" ")}
	procd_set_param env PICOCLAW_HOME=${STATE_FOLDER}
	procd_set_param respawn 3600 5 0
	procd_set_param term_timeout 45
	procd_set_param stdout 1
	procd_set_param stderr 1
	procd_close_instance
}
`,
    commands: [
      "chmod 755 /etc/init.d/picoclaw",
      "/etc/init.d/picoclaw enable",
      "/etc/init.d/picoclaw start",
    ],
  };
}
