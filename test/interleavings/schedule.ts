/**
 * Schedules: the order, and the moments, in which calls are started and gates are opened.
 *
 * A schedule is a list of steps. A step is taken either when nothing more happens by itself, or early: so many turns
 * of the microtask queue after the step before it, while promises are still being resolved. Given the steps, all that
 * the library does is determined, so a schedule can be replayed.
 */

/** One step of a schedule. */
export interface Step {
  /** `call` starts call number `number`; `gate` opens that gate. */
  readonly kind: 'call' | 'gate';
  readonly number: number;
  /** Turns of the microtask queue after the step before; `undefined`: when all is quiet. */
  readonly turn: number | undefined;
}

/** What could be done at some moment of a run. */
export type Choice = Pick<Step, 'kind' | 'number'>;

/** A step as text: `call0`, `gate2@3` (three turns after the step before). */
function stepName({ kind, number, turn }: Step): string {
  return `${kind}${number}${turn === undefined ? '' : `@${turn}`}`;
}

/** A schedule as text, which `parseSchedule` reads. */
export function scheduleName(steps: readonly Step[]): string {
  return steps.map(stepName).join(' ');
}

/** The reverse of `scheduleName`. */
export function parseSchedule(text: string): Step[] {
  return text.split(' ').map((name) => {
    const [, kind, number, turn] = /^(call|gate)(\d+)(?:@(\d+))?$/.exec(name) ?? [];
    if (kind === undefined) throw new Error(`no step of a schedule: ${name}`);
    return {
      kind: kind === 'call' ? kind : 'gate',
      number: Number(number),
      turn: turn === undefined ? undefined : Number(turn),
    };
  });
}

/** How many steps of a schedule are early. */
export function earlySteps(steps: readonly Step[]): number {
  return steps.filter(({ turn }) => turn !== undefined).length;
}
