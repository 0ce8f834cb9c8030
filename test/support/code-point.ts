import * as fc from "fast-check";

const SURROGATES = 0xd8_00;
const NUMBER_OF_SURROGATES = 0x8_00;

/**
 * Any code point but the halves of a pair, as a unit of `fc.string`: what fast-check calls `binary`. That one makes a
 * table of all code points first, which takes a second in each process.
 */
export const codePoint = fc
  .integer({ min: 0, max: 0x10_ff_ff - NUMBER_OF_SURROGATES })
  .map((number) =>
    String.fromCodePoint(number < SURROGATES ? number : number + NUMBER_OF_SURROGATES),
  );
