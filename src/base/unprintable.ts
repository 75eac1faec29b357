/** Characters that steer a terminal, turn text around or cannot be seen: no line of ours holds one raw (I-01). */
export const UNPRINTABLE = /[\u0000-\u001f\u007f-\u009f\u061c\u200b-\u200f\u2028-\u202e\u2066-\u2069\ufeff]/g

/** JSON in which they are escaped as JSON escapes; line breaks can stand between its members alone, and stay. */
export const escapeUnprintable = (json: string): string =>
  json.replace(UNPRINTABLE, c => (c === '\n' ? c : `\\u${c.charCodeAt(0).toString(16).padStart(4, '0')}`))

/** JSON in which every character can be seen: words of others cannot steer the terminal it is printed on. */
export const visibleJson = (value: unknown, indent?: number): string =>
  escapeUnprintable(JSON.stringify(value, null, indent))
