/** The column `state`: how far the request is. */
export const ACCEPTED = 0;
export const ANSWERED = 1;
export const DELIVERED = 2;

/** The column `failed`: how the request ended; 0 is without a failure. */
export const FAILED = 1;
/** It never ran: admission rejected it. */
export const REJECTED = 2;

/** Further addresses of a request that are kept for its next owner: the latest, for which somebody may still wait. */
export const MAX_JOINED = 8;
