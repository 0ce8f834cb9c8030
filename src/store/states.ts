/** The column `state`: how far the request is. */
export const ACCEPTED = 0;
export const ANSWERED = 1;
export const DELIVERED = 2;

/** The column `failed`: how the request ended; 0 is without a failure. */
export const FAILED = 1;
/** It never ran: admission rejected it. */
export const REJECTED = 2;
