import type { HomeReading, HomeSetting, HomeValue, SetOutcome } from "../../../base/contract.ts";
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
  /** What `set` publishes. Throws a `Failure` of code `bad_request` as it does. */
  commands(
    wanted: Readonly<Record<string, HomeValue>>,
  ): readonly { readonly topic: string; readonly payload: string }[];
  /**
   * Sets properties, and waits a few seconds until the device reports them. Rejects with a `Failure`: `bad_request`
   * says for the model what is possible.
   */
  set(wanted: Readonly<Record<string, HomeValue>>, signal: AbortSignal): Promise<SetOutcome>;
}
