import htm from "htm";
import { h } from "preact";

/** A template of HTML as an element. What stands in it is text, an attribute's value, or another element. */
export const html = htm.bind(h);
