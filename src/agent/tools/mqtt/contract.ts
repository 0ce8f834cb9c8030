/** The topics of the brokers that the program is connected to; whoever composes the agent has them. */
export interface Topics {
  /** What the topics of the agents that answer here begin with: nobody reads or publishes there. */
  readonly trees: () => readonly string[];
  /**
   * Messages of the topics that the filter matches: those that are retained, and those that come within
   * the time. Throws a `Failure` where the broker cannot be reached or refuses it, and the signal's reason.
   */
  read(wanted: TopicReading): Promise<TopicMessages>;
  /** Resolves when the broker has it, as far as the QoS tells. Throws as `read` does. */
  publish(message: TopicPublication): Promise<{ readonly noMatchingSubscribers: boolean }>;
}

interface Place {
  /** Whose broker is asked; the first channel's where it is left out. */
  readonly channel?: string;
  readonly signal: AbortSignal;
}

export interface TopicReading extends Place {
  readonly filter: string;
  readonly milliseconds: number;
  /** Messages, and bytes of all their payloads. */
  readonly most: number;
  readonly mostBytes: number;
}

export interface TopicMessages {
  readonly messages: readonly TopicMessage[];
  /** There were more than were wanted. */
  readonly isCut: boolean;
}

export interface TopicMessage {
  readonly topic: string;
  readonly payload: Uint8Array;
  /** It was there before. */
  readonly retained: boolean;
}

export interface TopicPublication extends Place {
  readonly topic: string;
  readonly payload: string;
  readonly retain: boolean;
  readonly qos: 0 | 1;
}
