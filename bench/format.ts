/**
 * Numbers as text.
 */
import type { RowInfo } from './rows.js';

/** A number with its thousands apart. */
export function count(value: number): string {
  return value.toLocaleString('en').replaceAll(',', ' ');
}

/** A figure with its unit, to three digits. */
export function figureText(value: number, unit: RowInfo['unit']): string {
  if (unit === 'calls') return `${count(value)} calls`;
  if (unit === 'bytes') return `${digits(value)} bytes`;
  if (value >= 1e6) return `${digits(value / 1e6)} ms`;
  return value >= 1e4 ? `${digits(value / 1e3)} µs` : `${digits(value)} ns`;
}

function digits(value: number): string {
  if (Math.abs(value) >= 1000) return count(Math.round(value));
  return value.toFixed(Math.abs(value) >= 100 ? 0 : Math.abs(value) >= 10 ? 1 : 2);
}

/** A factor, to two digits or so. */
export function times(factor: number): string {
  return `${factor.toFixed(factor >= 10 ? 0 : factor >= 1 ? 1 : 2)}×`;
}
