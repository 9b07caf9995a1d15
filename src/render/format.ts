/**
 * How sizes and foreign text are shown.
 */

const UNITS = ['B', 'KiB', 'MiB', 'GiB', 'TiB', 'PiB', 'EiB'] as const;
const DIGITS = 4;

/**
 * A number of bytes in human units: `4 KiB`, `1.5 MiB`, `3.999 GiB`. What isn't exact is cut, never rounded up,
 * to four digits, so a size never claims more than there is; all four are shown then, as in `1.000 GiB` for a
 * byte more than 1 GiB.
 *
 * @param bytes - 0 or more
 */
export function formatBytes(bytes: bigint): string {
  let power = 0;
  while (power < UNITS.length - 1 && bytes >= 1n << BigInt(10 * (power + 1))) power++;
  const unit = 1n << BigInt(10 * power);
  const whole = String(bytes / unit);
  const rest = bytes % unit;
  if (rest === 0n) return `${whole} ${UNITS[power]}`;
  const places = BigInt(Math.max(0, DIGITS - whole.length));
  const scaled = rest * 10n ** places;
  const digits = String(scaled / unit).padStart(Number(places), '0');
  if (places === 0n) return `${whole} ${UNITS[power]}`;
  const shown = scaled % unit === 0n ? digits.replace(/0+$/, '') : digits;
  return `${whole}.${shown} ${UNITS[power]}`;
}

/** Text from outside, safe to print: control, formatting and unassigned characters become `\u{…}`. */
export function printable(text: string): string {
  return text.replaceAll(
    /[\p{C}\p{Zl}\p{Zp}]/gu,
    (character) => `\\u{${character.codePointAt(0)!.toString(16)}}`,
  );
}

/** A, B … Z, AA, AB … for 0, 1 … */
export function letters(at: number): string {
  const before = at < 26 ? '' : letters(Math.floor(at / 26) - 1);
  return before + String.fromCharCode('A'.charCodeAt(0) + (at % 26));
}

/** A number with its noun: `1 area`, `2 areas`. */
export function count(number: number, one: string, many = `${one}s`): string {
  return `${number} ${number === 1 ? one : many}`;
}
