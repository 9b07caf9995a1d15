import {
  type Abortable,
  type AccountingMode,
  type FrameRuns,
  type IommuDomain,
  type IommuError,
  IoPagetable,
  IoptAccess,
  type IoptArea,
  type IoptPages,
  type MockDomain,
  type PinnedRange,
  ProcessMemory,
  type Profile,
  type Protection,
  RadixDomain,
  type TableSnapshot,
  type U64Input,
  type UserMemory,
} from 'io-pagetable';
import { describe, expectTypeOf, test } from 'vitest';

// These are checked by the compiler (`npm run check:types`); at run time they only show that the names exist.
describe('the public names and their types', () => {
  test('IoPagetable', () => {
    expectTypeOf(IoPagetable).toBeConstructibleWith();
    expectTypeOf(IoPagetable).toBeConstructibleWith({ memory: new ProcessMemory(), profile: 'rfc-v1' });
    expectTypeOf<IoPagetable['profile']>().toEqualTypeOf<Profile>();
    expectTypeOf<IoPagetable['map']>().returns.toEqualTypeOf<Promise<bigint>>();
    expectTypeOf<IoPagetable['map']>().toBeCallableWith({ uptr: 0x1000n, length: 4096, prot: 'rw' });
    expectTypeOf<IoPagetable['copy']>().returns.toEqualTypeOf<Promise<bigint>>();
    expectTypeOf<IoPagetable['unmap']>().parameters.toEqualTypeOf<
      [U64Input, U64Input, (Abortable | undefined)?]
    >();
    expectTypeOf<IoPagetable['unmap']>().returns.toEqualTypeOf<Promise<bigint>>();
    expectTypeOf<IoPagetable['unmapAll']>().returns.toEqualTypeOf<Promise<bigint>>();
    expectTypeOf<IoPagetable['mapSync']>().returns.toEqualTypeOf<bigint>();
    expectTypeOf<IoPagetable['copySync']>().returns.toEqualTypeOf<bigint>();
    expectTypeOf<IoPagetable['unmapSync']>().returns.toEqualTypeOf<bigint>();
    expectTypeOf<IoPagetable['access']>().returns.toEqualTypeOf<Promise<PinnedRange>>();
    expectTypeOf<IoPagetable['addDomain']>().parameters.toEqualTypeOf<
      [IommuDomain, (Abortable | undefined)?]
    >();
    expectTypeOf<IoPagetable['removeDomain']>().parameters.toEqualTypeOf<
      [IommuDomain, (Abortable | undefined)?]
    >();
    expectTypeOf<IoPagetable['reserveIova']>().toBeCallableWith({ start: 0n, last: 0xfffn, owner: null });
    expectTypeOf<IoPagetable['removeReservedIova']>().parameters.toEqualTypeOf<
      [object | null, (Abortable | undefined)?]
    >();
    expectTypeOf<IoPagetable['setAllowedIova']>().toBeCallableWith([{ start: 0n, last: 0xfffn }]);
    expectTypeOf<IoPagetable['iovaRanges']>().returns.resolves.toEqualTypeOf<{
      ranges: { start: bigint; last: bigint }[];
      alignment: number;
    }>();
    expectTypeOf<IoPagetable['enforceReservedRegions']>().returns.resolves.toEqualTypeOf<{
      swMsiStart: bigint | undefined;
    }>();
    expectTypeOf<IoPagetable['setLargePages']>().parameters.toEqualTypeOf<
      [boolean, (Abortable | undefined)?]
    >();
    expectTypeOf<IoPagetable['cutIova']>().parameters.toEqualTypeOf<
      [readonly U64Input[], (Abortable | undefined)?]
    >();
    expectTypeOf<IoPagetable['check']>().returns.toEqualTypeOf<void>();
    expectTypeOf<IoPagetable['snapshot']>().returns.toEqualTypeOf<TableSnapshot>();
  });

  test('areas and pages', () => {
    expectTypeOf<IoptArea['iova']>().toEqualTypeOf<bigint>();
    expectTypeOf<IoptArea['lastIova']>().toEqualTypeOf<bigint>();
    expectTypeOf<IoptArea['length']>().toEqualTypeOf<bigint>();
    expectTypeOf<IoptArea['protection']>().toEqualTypeOf<Protection>();
    expectTypeOf<IoptPages['uptr']>().toEqualTypeOf<bigint | undefined>();
    expectTypeOf<IoptPages['npages']>().toEqualTypeOf<number>();
    expectTypeOf<IoptPages['mode']>().toEqualTypeOf<AccountingMode>();
  });

  test('accesses', () => {
    expectTypeOf(IoptAccess).toBeConstructibleWith({ needsPin: true, onUnmap: () => undefined });
    expectTypeOf<IoptAccess['pin']>().returns.toEqualTypeOf<Promise<FrameRuns>>();
    expectTypeOf<IoptAccess['readSync']>().returns.toEqualTypeOf<void>();
    expectTypeOf<PinnedRange>().toExtend<Disposable>();
    expectTypeOf<PinnedRange['pages']>().toEqualTypeOf<readonly Uint8Array[]>();
  });

  test('memory and domains', () => {
    expectTypeOf<ProcessMemory>().toExtend<UserMemory>();
    expectTypeOf<RadixDomain>().toExtend<IommuDomain>();
    expectTypeOf<MockDomain>().toExtend<IommuDomain>();
    expectTypeOf<RadixDomain['iovaToPhys']>().toBeCallableWith(0x1000);
    expectTypeOf(new RadixDomain().iovaToPhys(0x1000)).toEqualTypeOf<number | undefined>();
    expectTypeOf(new RadixDomain().iovaToPhys(0x1000n)).toEqualTypeOf<bigint | undefined>();
  });

  test('errors', () => {
    expectTypeOf<IommuError['code']>().toExtend<string>();
    expectTypeOf<IommuError['errno']>().toEqualTypeOf<number>();
    expectTypeOf<IommuError['reason']['check']>().toExtend<string>();
  });
});
