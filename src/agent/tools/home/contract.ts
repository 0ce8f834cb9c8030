import type { TopicPermissions } from "../../access/permissions.ts";

/** The devices that programs on the brokers announce: lamps, switches, sensors. */
export interface HomeDevices {
  /**
   * The entities that a client with these permissions may read or set. Rejects with a `Failure` if the broker cannot
   * be reached, and with the signal's reason.
   */
  find(place: HomePlace, permissions: TopicPermissions): Promise<FoundEntities>;
}

export interface HomePlace {
  /** The channel whose broker is used; default: the first channel. */
  readonly channel?: string | undefined;
  readonly signal: AbortSignal;
}

export interface FoundEntities {
  readonly entities: readonly HomeEntity[];
  /** More are announced than are kept. */
  readonly isCut: boolean;
  /** The broker is not connected now. */
  readonly isOld: boolean;
}

type Value = string | number | boolean;

/** One thing of a device. All of its texts are untrusted. */
export interface HomeEntity {
  /** Unique. */
  readonly id: string;
  /** `light`, `sensor`. */
  readonly kind: string;
  readonly name: string;
  readonly device: string;
  /** "" if it is not known. */
  readonly room: string;
  readonly deviceClass: string;
  /** It tells something about the device, or configures it. */
  readonly isDiagnostic: boolean;
  /** Undefined if the device does not say so. */
  isOnline(): boolean | undefined;
  readings(): readonly HomeReading[];
  settings(): readonly HomeSetting[];
  /**
   * Sets properties, and waits a few seconds until the device reports them. Rejects with a `Failure`: `bad_request`
   * says for the model what is possible.
   */
  set(wanted: Readonly<Record<string, Value>>, signal: AbortSignal): Promise<SetOutcome>;
}

export interface HomeReading {
  readonly name: string;
  /** Undefined if it was not heard yet. */
  readonly value: Value | undefined;
  readonly unit: string;
  /** In milliseconds since the epoch; 0 if it was not heard. */
  readonly heardAt: number;
  /** The broker had stored it before that. */
  readonly isRetained: boolean;
}

export interface HomeSetting {
  readonly name: string;
  readonly words: readonly string[];
  readonly range: { readonly min: number; readonly max: number; readonly unit: string } | undefined;
}

export interface SetOutcome {
  /** The device reports what was set. */
  readonly isConfirmed: boolean;
  /** It has reported something since. */
  readonly isHeard: boolean;
  /** What was set can be read by this client. */
  readonly isReadable: boolean;
  /** Nobody was subscribed to the topic of the command. */
  readonly noSubscribers: boolean;
}
