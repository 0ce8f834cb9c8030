/** What a template makes: an element, several, or text. */
export type View =
  | { readonly type: string | ((props: object) => View); readonly props: object }
  | readonly View[]
  | string
  | number
  | boolean
  | null
  | undefined;

export function html(strings: TemplateStringsArray, ...values: readonly unknown[]): View;
