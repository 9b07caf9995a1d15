/** Random lives of objects against a naive bookkeeping of ids, users and errnos. */
import fc from 'fast-check';
import { expect, test } from 'vitest';
import type { IommufdAccess } from '../../src/iommufd/access-object.js';
import { closeClean, open, outcome } from './setting.js';

type Thing =
  | { kind: 'ioas' }
  | { kind: 'test device'; device: number }
  | { kind: 'device'; hwpt: number }
  | { kind: 'hwpt'; ioas: number; automatic: boolean }
  | { kind: 'access'; ioas: number };

/** What the kernel documents, with a Map and searches through all of it. */
class NaiveObjects {
  readonly things = new Map<number, Thing>();

  add(thing: Thing): number {
    let id = 1;
    while (this.things.has(id)) id += 1;
    this.things.set(id, thing);
    return id;
  }

  ofKind<K extends Thing['kind']>(kind: K): [number, Extract<Thing, { kind: K }>][] {
    const isIt = (entry: [number, Thing]): entry is [number, Extract<Thing, { kind: K }>] =>
      entry[1].kind === kind;
    return [...this.things].filter(isIt);
  }

  devicesOn(hwpt: number): number {
    return this.ofKind('device').filter(([, device]) => device.hwpt === hwpt).length;
  }

  busy(id: number): boolean {
    const thing = this.things.get(id)!;
    switch (thing.kind) {
      case 'ioas':
        return [...this.ofKind('hwpt'), ...this.ofKind('access')].some(([, user]) => user.ioas === id);
      case 'hwpt':
        return this.devicesOn(id) > 0;
      case 'test device':
        return false;
      default:
        return true;
    }
  }

  /** The page table that a device gets on an object. */
  enter(pt: number): number {
    if (this.things.get(pt)?.kind === 'hwpt') return pt;
    const known = this.ofKind('hwpt').find(([, hwpt]) => hwpt.ioas === pt && hwpt.automatic);
    return known?.[0] ?? this.add({ kind: 'hwpt', ioas: pt, automatic: true });
  }

  left(hwpt: number): void {
    const thing = this.things.get(hwpt);
    if (thing?.kind === 'hwpt' && thing.automatic && this.devicesOn(hwpt) === 0) this.things.delete(hwpt);
  }

  wrongTarget(pt: number): 'ENOENT' | 'EINVAL' | undefined {
    const kind = this.things.get(pt)?.kind;
    if (kind === undefined) return 'ENOENT';
    return kind === 'ioas' || kind === 'hwpt' ? undefined : 'EINVAL';
  }
}

const id = fc.nat({ max: 12 });
const step = fc.oneof(
  fc.record({ op: fc.constant('alloc' as const) }),
  fc.record({ op: fc.constant('device' as const), pt: id }),
  fc.record({ op: fc.constant('hwpt' as const), device: id, pt: id }),
  fc.record({ op: fc.constant('replace' as const), device: id, pt: id }),
  fc.record({ op: fc.constant('access' as const), ioas: id }),
  fc.record({ op: fc.constant('drop access' as const), which: id }),
  fc.record({ op: fc.constant('move access' as const), which: id, ioas: id }),
  fc.record({ op: fc.constant('destroy' as const), id }),
  fc.record({ op: fc.constant('destroy' as const), id }),
);

test('ids and errnos are those of a naive bookkeeping', async () => {
  await fc.assert(
    fc.asyncProperty(fc.array(step, { minLength: 5, maxLength: 60 }), async (steps) => {
      const setting = open();
      const { iommufd, driver } = setting;
      const naive = new NaiveObjects();
      const accesses = new Map<number, IommufdAccess>();
      for (const step of steps) {
        switch (step.op) {
          case 'alloc':
            expect(await iommufd.ioasAlloc()).toBe(naive.add({ kind: 'ioas' }));
            break;
          case 'device': {
            const testDevice = naive.add({ kind: 'test device', device: 0 });
            const device = naive.add({ kind: 'device', hwpt: 0 });
            // The test device cannot be found before it is made; the bound device can.
            const wrong = step.pt === testDevice ? 'ENOENT' : naive.wrongTarget(step.pt);
            if (wrong !== undefined) {
              naive.things.delete(testDevice);
              naive.things.delete(device);
              expect(await outcome(driver.mockDomain(step))).toBe(wrong);
              break;
            }
            const hwpt = naive.enter(step.pt);
            naive.things.set(testDevice, { kind: 'test device', device });
            naive.things.set(device, { kind: 'device', hwpt });
            expect(await driver.mockDomain(step)).toEqual({ testDevice, device, hwpt });
            break;
          }
          case 'hwpt': {
            const call = iommufd.hwptAlloc({ device: step.device, ioas: step.pt });
            const kind = naive.things.get(step.pt)?.kind;
            if (naive.things.get(step.device)?.kind !== 'device') expect(await outcome(call)).toBe('ENOENT');
            else if (kind === 'hwpt') expect(await outcome(call)).toBe('EOPNOTSUPP');
            else if (kind !== 'ioas') expect(await outcome(call)).toBe('EINVAL');
            else expect(await call).toBe(naive.add({ kind: 'hwpt', ioas: step.pt, automatic: false }));
            break;
          }
          case 'replace': {
            const call = driver.mockDomainReplace({ testDevice: step.device, pt: step.pt });
            const thing = naive.things.get(step.device);
            if (thing?.kind !== 'test device') {
              expect(await outcome(call)).toBe('ENOENT');
              break;
            }
            const wrong = naive.wrongTarget(step.pt);
            if (wrong !== undefined) {
              expect(await outcome(call)).toBe(wrong);
              break;
            }
            const before = naive.things.get(thing.device);
            const hwpt = naive.enter(step.pt);
            naive.things.set(thing.device, { kind: 'device', hwpt });
            if (before?.kind === 'device') naive.left(before.hwpt);
            expect(await call).toBe(hwpt);
            break;
          }
          case 'access': {
            const call = iommufd.accessCreate({ ioas: step.ioas });
            if (naive.things.get(step.ioas)?.kind !== 'ioas') expect(await outcome(call)).toBe('ENOENT');
            else {
              const access = await call;
              expect(access.id).toBe(naive.add({ kind: 'access', ioas: step.ioas }));
              accesses.set(access.id, access);
            }
            break;
          }
          case 'drop access':
            await accesses.get(step.which)?.destroy();
            if (accesses.delete(step.which)) naive.things.delete(step.which);
            break;
          case 'move access': {
            const access = accesses.get(step.which);
            if (access === undefined) break;
            const there = naive.things.get(step.ioas)?.kind === 'ioas';
            expect(await outcome(access.replace(step.ioas))).toBe(there ? 'OK' : 'ENOENT');
            if (there) naive.things.set(step.which, { kind: 'access', ioas: step.ioas });
            break;
          }
          case 'destroy': {
            const thing = naive.things.get(step.id);
            const expected = thing === undefined ? 'ENOENT' : naive.busy(step.id) ? 'EBUSY' : 'OK';
            expect(await outcome(iommufd.destroy(step.id))).toBe(expected);
            if (expected !== 'OK') break;
            naive.things.delete(step.id);
            if (thing?.kind !== 'test device') break;
            const device = naive.things.get(thing.device);
            naive.things.delete(thing.device);
            if (device?.kind === 'device') naive.left(device.hwpt);
            break;
          }
        }
        iommufd.check();
      }
      await closeClean(setting);
    }),
    { numRuns: 150 },
  );
});
