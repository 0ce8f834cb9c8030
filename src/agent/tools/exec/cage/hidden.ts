/**
 * What commands in the cage do not see although the rest of the machine can be read there: other
 * people's homes, sockets of those who do things for whoever asks, and what only root reads (the
 * gateway may be root). What is not there is left out.
 */
export const HIDDEN: readonly string[] = [
  "/home",
  "/root",
  // Sockets: dbus, docker, podman, libvirt, agents of ssh and gpg; credentials of systemd's services.
  "/run",
  "/var/run",
  // Mounted disks of others, and this machine's before it started.
  "/media",
  "/mnt",
  "/boot",
  "/var/lib/docker",
  "/var/lib/containerd",
  "/var/lib/lxd",
  "/var/lib/incus",
  "/var/snap/lxd",
  "/var/lib/libvirt",
  "/var/lib/systemd",
  "/var/lib/private",
  "/var/spool",
  "/var/backups",
  "/var/mail",
  // Keys and passwords of the machine.
  "/etc/shadow",
  "/etc/shadow-",
  "/etc/gshadow",
  "/etc/gshadow-",
  "/etc/sudoers",
  "/etc/sudoers.d",
  "/etc/ssh",
  "/etc/ssl/private",
  "/etc/pki/tls/private",
  "/etc/letsencrypt",
  "/etc/mosquitto",
  "/etc/NetworkManager/system-connections",
  "/etc/netplan",
  "/etc/wpa_supplicant",
  "/etc/wireguard",
  "/etc/openvpn",
  "/etc/ppp",
  "/etc/docker",
  "/etc/credstore",
  "/etc/credstore.encrypted",
  "/etc/cloud",
];

/** Folders that commands may fill and that are gone with them. */
export const PRIVATE: readonly string[] = ["/tmp", "/var/tmp", "/dev/shm"];

/** Names in the workspace that are everyone's conversations and memories, and what keeps keys there. */
export const KEPT_FOLDERS: readonly string[] = ["state", "sessions"];
export const MEMORIES = ["memory", "clients"] as const;
export const KEPT_IF_THERE: readonly string[] = [
  MEMORIES.join("/"),
  "config.json",
  ".security.yml",
  ".picoclaw",
];
